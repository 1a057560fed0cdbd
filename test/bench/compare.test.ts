import { expect, test } from "vitest";
import { compareDocuments } from "../../bench/report/compare.ts";
import { documentOf } from "./objects.ts";

const run = (throughput: number, cpu: number) =>
  documentOf({
    throughput_1: { typescript: 1, warren: throughput },
    cpu_per_gb: { typescript: 1, warren: cpu },
  });

test.each([
  ["the same", run(3, 0.3), false],
  ["better in both directions", run(6, 0.1), false],
  ["a little less throughput", run(2.6, 0.3), false],
  ["much less throughput", run(2, 0.3), true],
  ["much more processor time", run(3, 0.5), true],
])("%s", (_, now, worse) => {
  expect(compareDocuments(run(3, 0.3), now).worse).toBe(worse);
});

test("figures are shown with their change, and what only one run has is not judged", () => {
  const { text, worse } = compareDocuments(run(3, 0.3), documentOf({ throughput_1: { typescript: 1, warren: 3.3 } }));
  expect(worse).toBe(false);
  expect(text).toContain("throughput_1 warren: 3 → 3.3 µs (+10 %)");
  expect(text).toContain("cpu_per_gb: 0.3× → none, not comparable");
});
