import { expect, test } from "vitest";
import { merge, percentile } from "../../bench/histogram.ts";

const tens = {
  count: 10,
  max: 99,
  buckets: [
    [10, 5],
    [50, 4],
    [100, 1],
  ],
} as const;

test.each([
  [0, 10],
  [0.5, 10],
  [0.51, 50],
  [0.9, 50],
  [0.91, 99],
  [1, 99],
])("the share %d does not exceed %d", (share, value) => {
  expect(percentile(tens, share)).toBe(value);
});

test("an empty histogram has no percentiles", () => {
  expect(percentile({ count: 0, max: 0, buckets: [] }, 0.5)).toBeUndefined();
});

test("joined histograms count together, in order", () => {
  const other = {
    count: 3,
    max: 20,
    buckets: [
      [10, 1],
      [20, 2],
    ],
  } as const;
  expect(merge([tens, other])).toEqual({
    count: 13,
    max: 99,
    buckets: [
      [10, 6],
      [20, 2],
      [50, 4],
      [100, 1],
    ],
  });
  expect(merge([])).toEqual({ count: 0, max: 0, buckets: [] });
});
