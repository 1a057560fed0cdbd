/** Fresh tunnels: mutual TLS between many identities, each pair for the first time, and again with sessions that may be resumed. */

import { MeshError } from "../../src/lib/errors.ts";
import { percentile } from "../histogram.ts";
import type { LabBed, Recipe } from "../lab/bed.ts";
import { until } from "../lab/conditions.ts";
import { assertMostlySucceeded, histogramOf, type LoadReport, numberOf, runLoad } from "../lab/load.ts";
import { clientNode, crowd, echoPort } from "../lab/manifests.ts";
import type { Context, RoundResult, Scenario } from "./scenario.ts";

/** On each side; every client meets every server. */
const identities = 16;
/** For the time that one takes, opened one after the other. */
const alone = 4;
const atOnce = 32;
const seconds = 60;

type Kind = "full" | "resumed";

export function freshSessions(kind: Kind): Scenario {
  const how = kind === "full" ? "full handshakes" : "resumed sessions (tls.resumption: true)";
  const peer = "its number of pods is fixed, and so is its number of identities";
  return {
    name: kind === "full" ? "sessions" : "sessions-resumed",
    quick: false,
    recipe: recipes[kind],
    kind: "pods",
    sameNode: false,
    freshBeds: false,
    measures: [
      {
        name: `sessions_${kind}_per_s`,
        unit: "sessions/s",
        better: "more",
        what: `new tunnels between ${identities} × ${identities} identities, ${how}, ${atOnce} at a time, each with one byte there and back`,
      },
      {
        name: `sessions_${kind}_cpu`,
        unit: "CPU-ms",
        better: "less",
        what: `processor time of both agents per new tunnel, ${how}`,
      },
      {
        name: `sessions_${kind}_p50`,
        unit: "ms",
        better: "less",
        what: `until the first byte is back on a new tunnel, ${how}, one at a time, 50th percentile`,
      },
    ],
    unsuited: { direct: "it has no TLS", peer },
    // Tickets are there to be had only after a first meeting.
    prepare: async (bed, { signal }) => {
      await meet(bed, bed.cast.clients, atOnce, signal);
    },
    measure: (bed, context) => measureSessions(bed, kind, context),
  };
}

/** Tunnels are given up as soon as the configuration allows, so that each round starts without any. */
const timeouts = { tunnelIdle: "1s" };
const recipes: Readonly<Record<Kind, Recipe>> = {
  full: { name: "sessions", cast: crowd(identities), options: { agentSettings: { timeouts } } },
  resumed: {
    name: "sessions-resumed",
    cast: crowd(identities),
    options: { agentSettings: { timeouts, tls: { resumption: true } } },
  },
};

async function measureSessions(bed: LabBed, kind: Kind, { signal }: Context): Promise<RoundResult> {
  await bed.bind(undefined);
  const crowded = await meet(bed, bed.cast.clients, atOnce, signal);
  const single = await meet(bed, bed.cast.clients.slice(0, alone), 1, signal);
  const count = numberOf(crowded, "sessions");
  return {
    values: {
      [`sessions_${kind}_per_s`]: count / numberOf(crowded, "seconds"),
      [`sessions_${kind}_cpu`]: (crowded.agentSeconds / count) * 1000,
      [`sessions_${kind}_p50`]: (percentile(histogramOf(single, "latency"), 0.5) ?? Number.NaN) / 1e6,
    },
    histograms: { [`sessions_${kind}`]: histogramOf(single, "latency") },
    noise: crowded.noise,
  };
}

type Meeting = LoadReport & Pick<Awaited<ReturnType<LabBed["observe"]>>, "agentSeconds" | "noise">;

/** Each of the clients opens a tunnel to each server. */
async function meet(
  bed: LabBed,
  clients: readonly string[],
  concurrency: number,
  signal: AbortSignal,
): Promise<Meeting> {
  await until("tunnels to be given up", async () => (await engineCounter(bed, "tunnelsOpen")) === 0, {
    signal,
    timeoutMs: 20_000,
  });
  const options = {
    targets: bed.cast.servers.map((server) => bed.target(echoPort, server)).join(","),
    netns: clients.map((client) => bed.lab.pod(client).netnsPath ?? "").join(","),
    concurrency,
    deadline: seconds,
  };
  const before = await engineCounter(bed, "handshakesTotal");
  const { agentSeconds, noise, report } = await bed.observe(async () => ({
    report: await runLoad(bed, "sessions", options, seconds, signal),
  }));
  const expected = clients.length * bed.cast.servers.length;
  assertMostlySucceeded(`${expected} sessions`, report, numberOf(report, "sessions"));
  const handshakes = (await engineCounter(bed, "handshakesTotal")) - before;
  if (handshakes < numberOf(report, "sessions"))
    throw new MeshError(
      "MESH_BENCH_NOT_FRESH",
      `${handshakes} handshakes for ${expected} sessions: tunnels were reused`,
    );
  return { ...report, agentSeconds, noise } as Meeting;
}

/** Of the clients' agent. */
async function engineCounter(bed: LabBed, name: string): Promise<number> {
  const agent = bed.agents.find(({ node }) => node === clientNode);
  return (await agent?.stats())?.engine[name] ?? 0;
}
