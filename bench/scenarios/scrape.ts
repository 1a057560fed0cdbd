/** Scrapes of many series, one each second and back to back, and the traffic of the same agent meanwhile: connections that are open, and new ones. */
import { runProgram } from "../programs/run-program.ts";
import type { ScrapeCondition, ScrapeReport } from "../programs/scrape-clients.ts";
import type { ProgramResult, ProgramScenario, ScenarioMeasure } from "./scenario.ts";

const series = 10_000;
const open = 1000;

/** As the program calls the engines of the variants. */
const engines = new Map([
  ["typescript", "typescript"],
  ["warren", "native"],
]);

const conditions: Readonly<Record<ScrapeCondition, string>> = {
  alone: "no scrape",
  "each-second": `a scrape of ${series} samples each second`,
  classic: `scrapes of ${series} samples back to back, classic format`,
  openmetrics: `scrapes of ${series} samples back to back, OpenMetrics`,
};

function measures(): readonly ScenarioMeasure[] {
  return Object.entries(conditions).flatMap(([name, condition]) => [
    {
      name: `scrape_open_${measureName(name)}_p99`,
      unit: "ms",
      better: "less" as const,
      what: `one byte there and back on an open connection, ${open} others open, 99th percentile; ${condition}`,
    },
    {
      name: `scrape_new_${measureName(name)}_p99`,
      unit: "ms",
      better: "less" as const,
      what: `a new connection to its first byte back, each decided anew, 99th percentile; ${condition}`,
    },
  ]);
}

function measureName(condition: string): string {
  return condition.replaceAll("-", "_");
}

export function scrape(): ProgramScenario {
  return {
    name: "scrape",
    kind: "program",
    quick: false,
    variants: [...engines.keys()],
    measures: measures(),
    measure: async (variants, { signal }) => {
      const results = new Map<string, ProgramResult>();
      for (const variant of variants) {
        const args = ["--engine", engines.get(variant) ?? variant, "--series", String(series), "--open", String(open)];
        const { openMs, newMs } = await runProgram<ScrapeReport>("scrape", args, { timeoutMs: 300_000, signal });
        const values = Object.keys(conditions).flatMap((name) => {
          const condition = name as ScrapeCondition;
          return [
            [`scrape_open_${measureName(name)}_p99`, openMs[condition].p99],
            [`scrape_new_${measureName(name)}_p99`, newMs[condition].p99],
          ] as const;
        });
        results.set(variant, { values: Object.fromEntries(values) });
      }
      return results;
    },
  };
}
