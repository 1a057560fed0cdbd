/** From samples to the document: medians, spreads, what a variant adds to direct, and the seven ratios. Pure. */
import type { Absence, BenchDocument, Environment, RatioName, Row, Sample, Spread, Variant } from "./model.ts";
import { ratioNames } from "./model.ts";
import type { Scenario, ScenarioMeasure } from "./scenarios/scenario.ts";
import { type RoundValue, rounded, summarise } from "./statistics.ts";

/** Which measure each ratio is of. */
const ratioMeasures: Readonly<Record<RatioName, string>> = {
  throughput_1: "throughput_1",
  throughput_8: "throughput_8",
  cpu_per_gb: "cpu_per_gb",
  warm_flows_per_s: "warm_flows_per_s",
  pingpong_added_p50: "pingpong_added_p50",
  openloop_p99: "openloop_70_p99",
  bytes_per_idle_flow: "bytes_per_idle_flow",
};

export interface MeasuredScenario extends Pick<Scenario, "name" | "measures"> {
  /** Its columns, whether they have figures or reasons. */
  readonly variants: readonly Variant[];
}

export interface Measured {
  readonly scenarios: readonly MeasuredScenario[];
  readonly samples: readonly Sample[];
  readonly absences: readonly Absence[];
}

export function makeDocument(env: Environment, measured: Measured): BenchDocument {
  const rows = measured.scenarios.flatMap((scenario) =>
    scenario.measures.map((measure) => makeRow(scenario, measure, measured)),
  );
  const ratios: Record<string, number | null> = {};
  const reasons: Record<string, string> = {};
  for (const name of ratioNames) {
    const found = ratioOf(name, rows);
    ratios[name] = typeof found === "number" ? found : null;
    if (typeof found === "string") reasons[name] = found;
  }
  return { env, scenarios: rows, ratios: ratios as BenchDocument["ratios"], reasons };
}

function makeRow(of: MeasuredScenario, measure: ScenarioMeasure, measured: Measured): Row {
  const scenario = of.name;
  const { name, unit, better, what } = measure;
  const medians: Record<Variant, number | null> = {};
  const spreads: Record<Variant, Spread | null> = {};
  const reasons: Record<Variant, string> = {};
  for (const variant of of.variants) {
    const summary = summarise(valuesOf(scenario, measure, variant, measured.samples));
    medians[variant] = summary === undefined ? null : rounded(summary.median);
    spreads[variant] =
      summary === undefined
        ? null
        : { ...summary.spread, low: rounded(summary.spread.low), high: rounded(summary.spread.high) };
    if (summary === undefined) reasons[variant] = reasonFor(of, measure, variant, measured);
  }
  return { scenario, name, unit, better, what, medians, spreads, reasons };
}

function valuesOf(
  scenario: string,
  measure: ScenarioMeasure,
  variant: Variant,
  samples: readonly Sample[],
): RoundValue[] {
  const of = (name: string, which: Variant) =>
    samples.flatMap((sample) => {
      const value = sample.values[name];
      if (sample.scenario !== scenario || sample.variant !== which || value === undefined || !Number.isFinite(value))
        return [];
      return [{ round: sample.round, value, steal: sample.noise.steal }];
    });
  if (measure.addedTo === undefined) return of(measure.name, variant);
  if (variant === "direct") return [];
  const base = new Map(of(measure.addedTo, "direct").map((one) => [one.round, one]));
  return of(measure.addedTo, variant).flatMap(({ round, value, steal }) => {
    const direct = base.get(round);
    return direct === undefined ? [] : [{ value: value - direct.value, steal: Math.max(steal, direct.steal) }];
  });
}

function reasonFor(
  { name: scenario, variants }: MeasuredScenario,
  measure: ScenarioMeasure,
  variant: Variant,
  { samples, absences }: Measured,
): string {
  const told = absences.find((absence) => absence.scenario === scenario && absence.variant === variant);
  if (measure.addedTo !== undefined) {
    if (variant === "direct") return "this is what the others are held against";
    if (!variants.includes("direct")) return "direct was not among the variants";
    const ofDirect = absences.find((absence) => absence.scenario === scenario && absence.variant === "direct");
    if (told === undefined && ofDirect !== undefined) return `direct: ${ofDirect.reason}`;
  }
  const ran = samples.some((sample) => sample.scenario === scenario && sample.variant === variant);
  if (ran && measure.absent !== undefined) return measure.absent;
  return told?.reason ?? "no round gave this figure";
}

function ratioOf(name: RatioName, rows: readonly Row[]): number | string {
  const row = rows.find((one) => one.name === ratioMeasures[name]);
  if (row === undefined) return "its scenario was not among those asked for";
  const [warren, typescript] = [row.medians["warren"], row.medians["typescript"]];
  for (const [variant, value] of [
    ["warren", warren],
    ["typescript", typescript],
  ] as const) {
    if (value === undefined) return `${variant} was not among the variants`;
    if (value === null) return `${variant}: ${row.reasons[variant] ?? "no figure"}`;
  }
  if (typeof warren !== "number" || typeof typescript !== "number" || typescript <= 0)
    return "typescript's figure is not above zero, so that nothing can be held against it";
  return rounded(warren / typescript);
}
