import { expect, test } from "vitest";
import { runProgram } from "../../bench/programs/run-program.ts";

test("what a tap costs is measured against nobody tapping, in turns", { timeout: 120_000 }, async () => {
  const options = { timeoutMs: 110_000, signal: new AbortController().signal };
  const args = ["--rounds", "31", "--connections", "50000", "--json"];
  const result = await runProgram<{ connections: number; seen: boolean; unwatchedNs: number; watchedNs: number }>(
    "tap-cost",
    args,
    options,
  );
  expect(result).toMatchObject({ connections: 50_000, seen: true });
  // A comparison beside making and keeping an event: some hundred times less, and never the half.
  expect(result.unwatchedNs).toBeLessThan(result.watchedNs / 2);
});
