/** Two runs side by side. Pure. */
import { type BenchDocument, type RatioName, ratioNames } from "../model.ts";

/** In which direction a ratio of warren to typescript is better. */
const moreIsBetter: ReadonlySet<RatioName> = new Set(["throughput_1", "throughput_8", "warm_flows_per_s"]);
/** A ratio moves by a few percent from run to run on a quiet machine; this much is a change. */
const tolerance = 1.25;

export interface Comparison {
  readonly text: string;
  /** A ratio got worse beyond what runs differ by. Ratios and not figures decide: they are what two machines have in common. */
  readonly worse: boolean;
}

export function compareDocuments(old: BenchDocument, now: BenchDocument): Comparison {
  const lines = [`\nAgainst the run of ${old.env.date} (${old.env.commit.slice(0, 10)}):`, ""];
  let worse = false;
  for (const name of ratioNames) {
    const [before, after] = [old.ratios[name] ?? null, now.ratios[name]];
    if (before === null || after === null) {
      lines.push(`  ${name}: ${show(before)} → ${show(after)}, not comparable`);
      continue;
    }
    const loss = moreIsBetter.has(name) ? before / after : after / before;
    const isWorse = loss > tolerance;
    worse ||= isWorse;
    lines.push(`  ${name}: ${show(before)} → ${show(after)}${isWorse ? "  WORSE" : ""}`);
  }
  lines.push("");
  for (const row of now.scenarios) {
    const before = old.scenarios.find(({ name }) => name === row.name);
    for (const [variant, value] of Object.entries(row.medians)) {
      const was = before?.medians[variant];
      if (value === null || was === null || was === undefined || was === 0) continue;
      const change = (value / was - 1) * 100;
      lines.push(
        `  ${row.name} ${variant}: ${was} → ${value} ${row.unit} (${change >= 0 ? "+" : ""}${change.toFixed(0)} %)`,
      );
    }
  }
  return { text: `${lines.join("\n")}\n`, worse };
}

function show(ratio: number | null): string {
  return ratio === null ? "none" : `${ratio}×`;
}
