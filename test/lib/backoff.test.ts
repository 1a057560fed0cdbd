import { expect, test } from "vitest";
import { backoffDelay } from "../../src/lib/backoff.ts";

const options = { firstMs: 500, factor: 2, longestMs: 150_000, jitter: 0.2 };

test.each([
  [1, 0.5, 500],
  [2, 0.5, 1000],
  [3, 0.5, 2000],
  [9, 0.5, 128_000],
  [10, 0.5, 150_000],
  [5000, 0.5, 150_000],
  [1, 0, 400],
  [1, 1, 600],
  [0, 0.5, 500],
])("after %i failures with the die at %d: %d ms", (failures, random, expected) => {
  expect(backoffDelay(failures, options, random)).toBeCloseTo(expected);
});

test("jitter never exceeds the longest wait", () => {
  expect(backoffDelay(20, options, 1)).toBe(150_000);
});
