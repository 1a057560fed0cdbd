/** Reading and joining the load generator's histograms. Pure. */
import type { Histogram } from "./model.ts";

/** The value, in nanoseconds, that this share of all durations does not exceed. */
export function percentile(histogram: Histogram, share: number): number | undefined {
  const wanted = Math.max(1, Math.ceil(histogram.count * share));
  let seen = 0;
  for (const [value, count] of histogram.buckets) {
    seen += count;
    // The last bucket reaches beyond what was seen.
    if (seen >= wanted) return Math.min(value, histogram.max);
  }
  return undefined;
}

export function merge(histograms: readonly Histogram[]): Histogram {
  const counts = new Map<number, number>();
  for (const { buckets } of histograms)
    for (const [value, count] of buckets) counts.set(value, (counts.get(value) ?? 0) + count);
  return {
    count: histograms.reduce((sum, { count }) => sum + count, 0),
    max: Math.max(0, ...histograms.map(({ max }) => max)),
    buckets: [...counts].sort(([one], [other]) => one - other),
  };
}
