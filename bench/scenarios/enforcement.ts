/** A policy that changes while thousands of flows are open: from the arrival of the change at the agent to the end of what it forbids. */
import { runProgram } from "../programs/run-program.ts";
import type { ProgramResult, ProgramScenario } from "./scenario.ts";

const clients = 20;
const flowsEach = 200;
const workloads = 10_000;

interface Result {
  readonly flowMs: { readonly p50: number; readonly p99: number };
  readonly threadMs: { readonly mean: number };
}

/** As the program calls the engines of the variants. */
const engines = new Map([
  ["typescript", "typescript"],
  ["warren", "native"],
]);

export function enforcement(): ProgramScenario {
  const what = `flows of one identity of ${clients}, ${flowsEach} each, that a new DENY policy cuts, ${workloads} workloads known: from the arrival of the control plane's bytes to a flow's closing record`;
  return {
    name: "enforcement",
    kind: "program",
    quick: false,
    variants: [...engines.keys()],
    measures: [
      { name: "enforcement_p50", unit: "ms", better: "less", what: `${what}, 50th percentile` },
      { name: "enforcement_p99", unit: "ms", better: "less", what: `${what}, 99th percentile` },
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
        args.push("--flows", String(flowsEach), "--workloads", String(workloads));
        const { flowMs, threadMs } = await runProgram<Result>("enforcement", args, { timeoutMs: 120_000, signal });
        results.set(variant, {
          values: { enforcement_p50: flowMs.p50, enforcement_p99: flowMs.p99, enforcement_thread: threadMs.mean },
        });
      }
      return results;
    },
  };
}
