import { expect, test } from "vitest";
import { runProgram } from "../../bench/programs/run-program.ts";

test("the start of the program is held against a bare Node, and both print what they should", {
  timeout: 120_000,
}, async () => {
  const options = { timeoutMs: 110_000, signal: new AbortController().signal };
  const result = await runProgram<{ rounds: number; nodeMs: number; helpRatio: number }>(
    "command-start",
    ["--rounds", "1", "--json"],
    options,
  );
  expect(result.rounds).toBe(1);
  expect(result.nodeMs).toBeGreaterThan(0);
  // More than twice would be a wonder of this one moment; ten times would be the Kubernetes client.
  expect(result.helpRatio).toBeLessThan(10);
});
