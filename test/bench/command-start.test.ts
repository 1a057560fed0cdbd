import { expect, test } from "vitest";
import { runProgram } from "../../bench/programs/run-program.ts";

test("the start of the program is held against a bare Node, and both print what they should", {
  timeout: 120_000,
}, async () => {
  const options = { timeoutMs: 110_000, signal: new AbortController().signal };
  const result = await runProgram<{ rounds: number; nodeMs: number; helpRatio: number }>(
    "command-start",
    ["--rounds", "3", "--json"],
    options,
  );
  expect(result.rounds).toBe(3);
  expect(result.nodeMs).toBeGreaterThan(0);
  // Of medians, so that a moment in which the machine stood still counts for nothing: more than twice would be a wonder all the same; ten
  // times would be the Kubernetes client.
  expect(result.helpRatio).toBeLessThan(10);
});
