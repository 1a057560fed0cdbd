/** Changes that forbid something while thousands of flows are open: from the arrival of each at the agent to the end of the last such flow. */
import { runProgram } from "../programs/run-program.ts";
import type { ProgramResult, ProgramScenario, ScenarioMeasure } from "./scenario.ts";

const clients = 20;
const flowsEach = 200;
const workloads = 10_000;
const policies = 1000;
/** Of each kind. */
const changes = 100;

interface Report {
  readonly changeMs: { readonly p50: number; readonly p99: number };
  readonly clientMs: { readonly p99: number };
  readonly threadMs: { readonly mean: number };
}

interface Result extends Report {
  readonly kinds: Readonly<Record<string, Report>>;
}

/** As the program calls the engines of the variants. */
const engines = new Map([
  ["typescript", "typescript"],
  ["warren", "native"],
]);

/** By the program's names. */
const kinds = new Map([
  ["policy-changed", "an AuthorizationPolicy that changes"],
  ["policy-attached", "an AuthorizationPolicy that is new"],
  ["pod-label", "a pod's label by which a policy selects it"],
  ["identity-denied", "an identity on the denylist"],
  ["certificate-revoked", "a certificate on a revocation list"],
  ["strict", "PeerAuthentication to STRICT, for plaintext flows"],
  ["default-deny", "default deny for the mesh"],
]);

function kindMeasures(): ScenarioMeasure[] {
  return [...kinds].map(([kind, what]) => ({
    name: `enforcement_${kind.replaceAll("-", "_")}_p99`,
    unit: "ms",
    better: "less",
    what: `${what}: the same, 99th percentile of ${changes} changes`,
  }));
}

export function enforcement(): ProgramScenario {
  const what = `changes that each forbid one client of ${clients + 2} its ${flowsEach} flows, ${workloads} workloads and ${policies} policies known: from the arrival of the control plane's bytes at the agent to the closing record of the last flow`;
  return {
    name: "enforcement",
    kind: "program",
    quick: false,
    variants: [...engines.keys()],
    mostRounds: 2,
    measures: [
      { name: "enforcement_p50", unit: "ms", better: "less", what: `${what}, 50th percentile of all kinds` },
      { name: "enforcement_p99", unit: "ms", better: "less", what: `${what}, 99th percentile of all kinds` },
      ...kindMeasures(),
      {
        name: "enforcement_client_p99",
        unit: "ms",
        better: "less",
        what: "until the last of the client's own sockets is closed, beyond the tunnel and its agent, 99th percentile of all kinds",
      },
      {
        name: "enforcement_thread",
        unit: "ms",
        better: "less",
        what: "processor time of the deciding thread per such change, which a busy machine does not lengthen",
      },
    ],
    measure: async (variants, { signal }) => {
      const results = new Map<string, ProgramResult>();
      for (const variant of variants) {
        const args = ["--engine", engines.get(variant) ?? variant, "--clients", String(clients)];
        args.push("--flows", String(flowsEach), "--workloads", String(workloads), "--policies", String(policies));
        args.push("--changes", String(changes));
        const result = await runProgram<Result>("enforcement", args, { timeoutMs: 600_000, signal });
        const perKind = [...kinds.keys()].flatMap((kind) => {
          const report = result.kinds[kind];
          const name = `enforcement_${kind.replaceAll("-", "_")}_p99`;
          return report === undefined ? [] : [[name, report.changeMs.p99] as const];
        });
        results.set(variant, {
          values: {
            enforcement_p50: result.changeMs.p50,
            enforcement_p99: result.changeMs.p99,
            ...Object.fromEntries(perKind),
            enforcement_client_p99: result.clientMs.p99,
            enforcement_thread: result.threadMs.mean,
          },
        });
      }
      return results;
    },
  };
}
