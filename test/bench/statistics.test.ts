import { expect, test } from "vitest";
import { median, quantile, rounded, summarise } from "../../bench/statistics.ts";

const rounds = (...values: [value: number, steal: number][]) => values.map(([value, steal]) => ({ value, steal }));

test.each([
  [[], undefined],
  [[4], 4],
  [[9, 1, 5], 5],
  [[1, 2, 3, 10], 2.5],
])("the median of %j is %d", (values, expected) => {
  expect(median(values)).toBe(expected);
});

test("quantiles lie between their neighbours", () => {
  expect(quantile([10, 20, 30, 40, 50], 0.25)).toBe(20);
  expect(quantile([0, 10], 0.9)).toBe(9);
});

test("rounds with stolen time do not count while three others are left", () => {
  expect(summarise(rounds([1, 0], [2, 0.005], [3, 0.01], [100, 0.02]))).toEqual({
    median: 2,
    spread: { low: 1, high: 3, rounds: 3, discarded: 1 },
  });
});

test("rounds with stolen time count when too few others are left", () => {
  expect(summarise(rounds([1, 0], [2, 0.5], [3, 0.5]))).toEqual({
    median: 2,
    spread: { low: 1, high: 3, rounds: 3, discarded: 0 },
  });
});

test("a single quiet round is enough where there was only one", () => {
  expect(summarise(rounds([7, 0]))?.median).toBe(7);
  expect(summarise([])).toBeUndefined();
});

test("figures keep three digits", () => {
  expect(rounded(12_345)).toBe(12_300);
  expect(rounded(0.001_234_5)).toBe(0.001_23);
});
