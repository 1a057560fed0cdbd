/** The TypeScript engine against what node:http2 alone makes of the same tunnel: what its decisions, limits and accounting cost. */
import { runProgram } from "../programs/run-program.ts";
import type { ProgramResult, ProgramScenario } from "./scenario.ts";

interface Result {
  readonly results: readonly {
    readonly direction: "upload" | "download";
    readonly flows: number;
    readonly gbitPerSecond: Readonly<Record<"bare" | "engine", number>>;
    readonly cpuSecondsPerGB: Readonly<Record<"bare" | "engine", number>>;
  }[];
}

/** As the program calls them. */
const subjects = new Map([
  ["bare http2", "bare"],
  ["typescript engine", "engine"],
] as const);
const flowCounts = [1, 8];

export function bareRelay(): ProgramScenario {
  return {
    name: "relay",
    kind: "program",
    quick: false,
    variants: [...subjects.keys()],
    measures: flowCounts.flatMap((flows) => {
      const what = `${flows} ${flows === 1 ? "connection" : "connections"} through both ends of a CONNECT tunnel in one process, on loopback`;
      return [
        { name: `relay_${flows}`, unit: "Gbit/s", better: "more" as const, what },
        { name: `relay_${flows}_cpu_per_gb`, unit: "CPU-s/GB", better: "less" as const, what },
      ];
    }),
    measure: async (_variants, { signal }) => {
      const args = ["--rounds", "1", "--seconds", "1", "--flows", flowCounts.join(",")];
      const { results } = await runProgram<Result>("bare-relay", args, { timeoutMs: 120_000, signal });
      const uploads = results.filter(({ direction }) => direction === "upload");
      return new Map(
        [...subjects].map(([variant, subject]): [string, ProgramResult] => {
          const figures = uploads.flatMap(({ flows, gbitPerSecond, cpuSecondsPerGB }) => [
            [`relay_${flows}`, gbitPerSecond[subject]] as const,
            [`relay_${flows}_cpu_per_gb`, cpuSecondsPerGB[subject]] as const,
          ]);
          return [variant, { values: Object.fromEntries(figures) }];
        }),
      );
    },
  };
}
