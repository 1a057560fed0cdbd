/** One authorization decision among many policies: the agents' index against a linear scan of the same rules. */
import { runProgram } from "../programs/run-program.ts";
import type { ProgramScenario } from "./scenario.ts";

const policies = 10_000;
const rules = 10;
const decisions = 1000;

interface Result {
  readonly buildMs: number;
  readonly heapMb: number;
  readonly indexUs: { readonly p50: number; readonly p99: number };
  readonly linearUs: { readonly p50: number; readonly p99: number };
}

export function policyDecisions(): ProgramScenario {
  const setting = `with ${policies} policies of ${rules} rules that all select the workload`;
  const ofScan = "a scan needs no index";
  return {
    name: "policy",
    kind: "program",
    quick: false,
    variants: ["index", "scan"],
    measures: [
      {
        name: "decision_p50",
        unit: "µs",
        better: "less",
        what: `one decision ${setting}, 50th percentile of requests`,
      },
      {
        name: "decision_p99",
        unit: "µs",
        better: "less",
        what: `one decision ${setting}, 99th percentile of requests`,
      },
      { name: "index_build", unit: "ms", better: "less", what: `compiling and filing them`, absent: ofScan },
      { name: "index_memory", unit: "MiB", better: "less", what: `heap that they take, indexed`, absent: ofScan },
    ],
    measure: async (_variants, { signal }) => {
      const args = [
        "--policies",
        String(policies),
        "--rules",
        String(rules),
        "--decisions",
        String(decisions),
        "--json",
      ];
      const result = await runProgram<Result>("policy-decisions", args, {
        timeoutMs: 300_000,
        signal,
        node: ["--expose-gc"],
      });
      const { indexUs, linearUs, buildMs, heapMb } = result;
      return new Map([
        [
          "index",
          {
            values: {
              decision_p50: indexUs.p50,
              decision_p99: indexUs.p99,
              index_build: buildMs,
              index_memory: heapMb,
            },
          },
        ],
        ["scan", { values: { decision_p50: linearUs.p50, decision_p99: linearUs.p99 } }],
      ]);
    },
  };
}
