/** What taps cost an agent: a connection's end while nobody watches, and while one tap takes everything. */
import { runProgram } from "../programs/run-program.ts";
import type { ProgramScenario } from "./scenario.ts";

interface Result {
  readonly unwatchedNs: number;
  readonly watchedNs: number;
}

export function tapCost(): ProgramScenario {
  return {
    name: "tap",
    kind: "program",
    quick: false,
    variants: ["unwatched", "watched"],
    measures: [
      { name: "connection", unit: "ns", better: "less", what: "of the agent's thread for taps, at a connection's end" },
    ],
    measure: async (_variants, { signal }) => {
      const { unwatchedNs, watchedNs } = await runProgram<Result>("tap-cost", ["--json"], {
        timeoutMs: 120_000,
        signal,
      });
      return new Map([
        ["unwatched", { values: { connection: unwatchedNs } }],
        ["watched", { values: { connection: watchedNs } }],
      ]);
    },
  };
}
