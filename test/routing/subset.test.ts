import { expect, test } from "vitest";
import { subset } from "../../src/routing/subset.ts";

const endpoints = Array.from({ length: 400 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
const of = (client: string, items: readonly string[] = endpoints): readonly string[] =>
  subset(items, 16, client, (item) => item);

test("few endpoints are all taken, as they are", () => {
  const few = endpoints.slice(0, 16);
  expect(of("a", few)).toBe(few);
});

test("a client's choice is bounded, without doubles, and stays the same", () => {
  expect(new Set(of("a")).size).toBe(16);
  expect(of("a")).toEqual(of("a"));
  expect(of("a", endpoints.toReversed())).toEqual(of("a"));
});

test("an endpoint that goes is replaced by one other", () => {
  const before = of("a");
  const after = of(
    "a",
    endpoints.filter((endpoint) => endpoint !== before[3]),
  );
  expect(after.filter((endpoint) => !before.includes(endpoint))).toHaveLength(1);
  expect(before.filter((endpoint) => !after.includes(endpoint))).toEqual([before[3]]);
});

test("clients together use all endpoints about evenly", () => {
  const uses = new Map(endpoints.map((endpoint) => [endpoint, 0]));
  for (let client = 0; client < 1000; client += 1) {
    for (const endpoint of of(`pod-${client}`)) uses.set(endpoint, (uses.get(endpoint) ?? 0) + 1);
  }
  // 1000 x 16 / 400 = 40 each on average.
  expect(Math.min(...uses.values())).toBeGreaterThan(15);
  expect(Math.max(...uses.values())).toBeLessThan(80);
});
