/** Requests while certificates are replaced under them, dozens of times as often as in a day of a real mesh. */

import { percentile } from "../histogram.ts";
import type { LabBed } from "../lab/bed.ts";
import { pair } from "../lab/manifests.ts";
import { runOpenLoop } from "./latency.ts";
import type { Scenario } from "./scenario.ts";

/** Renewed at half of it, so that every few seconds a certificate changes. */
const certificateLifetime = "10s";
/** As one of the open loop's shares, so that there is a figure without rotation to hold it against. */
export const rotationShare = 0.5;

export function rotation(): Scenario {
  const load = `requests at ${rotationShare * 100} % of the knee while certificates live ${certificateLifetime}`;
  return {
    name: "rotation",
    quick: false,
    // Certificates would run out while their agents rest.
    recipe: {
      name: "rotation",
      cast: pair,
      options: { controlSettings: { certificateLifetime } },
      apart: true,
      restless: true,
    },
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures: [
      { name: "rotation_p50", unit: "ms", better: "less", what: `${load}, 50th percentile` },
      { name: "rotation_p99", unit: "ms", better: "less", what: `${load}, 99th percentile` },
      { name: "rotation_unanswered", unit: "requests", better: "less", what: `${load}, not answered` },
      {
        name: "rotation_renewals",
        unit: "certificates",
        better: "less",
        what: `${load}, certificates replaced meanwhile`,
      },
      {
        name: "rotation_cpu_per_1k",
        unit: "CPU-s/1000",
        better: "less",
        what: `${load}, processor time of both agents per 1000 requests`,
      },
    ],
    unsuited: { direct: "it has no certificates", peer: "its certificates do not change" },
    measure: async (bed, context) => {
      const rate = Math.max(1, Math.round((await context.knee()) * rotationShare));
      const before = await issued(bed);
      const run = await runOpenLoop(bed, rate, context.pace.rotationSeconds, context.signal);
      const milliseconds = (share: number) => (percentile(run.latency, share) ?? Number.NaN) / 1e6;
      return {
        values: {
          rotation_p50: milliseconds(0.5),
          rotation_p99: milliseconds(0.99),
          rotation_unanswered: run.unanswered,
          rotation_renewals: (await issued(bed)) - before,
          rotation_cpu_per_1k: run.agentSeconds / (run.sent / 1000),
        },
        histograms: { rotation: run.latency },
        noise: run.noise,
      };
    },
  };
}

async function issued(bed: LabBed): Promise<number> {
  const stats = await Promise.all(bed.agents.map((agent) => agent.stats()));
  return stats.reduce((sum, of) => sum + (of?.certificates["issuedTotal"] ?? 0), 0);
}
