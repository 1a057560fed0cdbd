/** How figures are written. Pure. */
import type { Row, Variant } from "../model.ts";

/** Three digits are more than a shared machine knows; below that no zeros after the point. */
export function show(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** Median, and the extremes of the rounds. */
export function cell(row: Row, variant: Variant): string {
  const value = row.medians[variant];
  const spread = row.spreads[variant];
  if (value === null || value === undefined || spread === null || spread === undefined) return "–";
  return `${show(value)} (${show(spread.low)}–${show(spread.high)})`;
}

/** Rows that have the same columns, in the order in which they come. */
export interface FigureGroup {
  readonly variants: readonly Variant[];
  readonly rows: readonly Row[];
}

export function figureGroups(rows: readonly Row[]): readonly FigureGroup[] {
  const groups = Map.groupBy(rows, ({ medians }) => Object.keys(medians).join("\n"));
  return [...groups.values()].map((group) => ({ variants: variantsOf(group), rows: group }));
}

export function variantsOf(rows: readonly Row[]): readonly Variant[] {
  return [...new Set(rows.flatMap(({ medians }) => Object.keys(medians)))];
}

/** What a variant is of direct, for measures that direct has too. */
export function toDirect(row: Row, variant: Variant): number | undefined {
  const [value, direct] = [row.medians[variant], row.medians["direct"]];
  if (variant === "direct" || typeof value !== "number" || typeof direct !== "number" || direct <= 0) return undefined;
  return value / direct;
}
