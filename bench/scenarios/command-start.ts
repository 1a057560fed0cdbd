/** The start of the program beside a bare Node: what every verb costs before it does anything. */
import { runProgram } from "../programs/run-program.ts";
import type { ProgramScenario } from "./scenario.ts";

interface Result {
  readonly nodeMs: number;
  readonly helpMs: number;
  readonly verbMs: number;
}

export function commandStart(): ProgramScenario {
  return {
    name: "start",
    kind: "program",
    quick: false,
    variants: ["node", "warren"],
    measures: [
      { name: "help", unit: "ms", better: "less", what: "warren --help, beside node -e 0" },
      { name: "verb_help", unit: "ms", better: "less", what: "the help of one verb", absent: "Node has no verbs" },
    ],
    measure: async (_variants, { signal }) => {
      const args = ["--rounds", "9", "--json"];
      const { nodeMs, helpMs, verbMs } = await runProgram<Result>("command-start", args, {
        timeoutMs: 120_000,
        signal,
      });
      return new Map([
        ["node", { values: { help: nodeMs } }],
        ["warren", { values: { help: helpMs, verb_help: verbMs } }],
      ]);
    },
  };
}
