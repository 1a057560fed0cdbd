/** Numbers of rounds. Pure. */
import type { Spread } from "./model.ts";

export function median(values: readonly number[]): number | undefined {
  return quantile(values, 0.5);
}

/** With linear interpolation between neighbours. */
export function quantile(values: readonly number[], at: number): number | undefined {
  const sorted = values.toSorted((one, other) => one - other);
  const position = (sorted.length - 1) * at;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) return undefined;
  return below + (above - below) * (position - Math.floor(position));
}

/** Above this share of stolen time a round says more about the machine's neighbours than about what was measured. */
export const stealLimit = 0.01;
/** Fewer rounds than this are no basis for a median: then stolen time is put up with, and shows in the environment. */
const leastRounds = 3;

export interface RoundValue {
  readonly value: number;
  readonly steal: number;
}

/** The rounds that count: those without stolen time, unless too few are left. */
export function countedRounds<T extends { readonly steal: number }>(rounds: readonly T[]): readonly T[] {
  const quiet = rounds.filter(({ steal }) => steal <= stealLimit);
  return quiet.length >= Math.min(leastRounds, rounds.length) ? quiet : rounds;
}

export interface Summary {
  readonly median: number;
  readonly spread: Spread;
}

/** Median, and the extremes of the rounds that counted. */
export function summarise(rounds: readonly RoundValue[]): Summary | undefined {
  const counted = countedRounds(rounds);
  const values = counted.map(({ value }) => value);
  const middle = median(values);
  if (middle === undefined) return undefined;
  const spread = {
    low: Math.min(...values),
    high: Math.max(...values),
    rounds: counted.length,
    discarded: rounds.length - counted.length,
  };
  return { median: middle, spread };
}

/** To three significant digits, which is more than shared machines know. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
