/** The bench's own programs, small: what they measure must have happened, or they fail. */
import { expect, test } from "vitest";
import { runProgram } from "../../bench/programs/run-program.ts";
import type { ScrapeReport } from "../../bench/programs/scrape-clients.ts";

const options = { timeoutMs: 280_000, signal: new AbortController().signal };

test("decisions of the index are held against a scan that answers the same", { timeout: 300_000 }, async () => {
  const args = ["--policies", "200", "--rules", "5", "--decisions", "200", "--json"];
  const result = await runProgram<{ outcomes: { allow: number; deny: number }; p99Ratio: number }>(
    "policy-decisions",
    args,
    { ...options, node: ["--expose-gc"] },
  );
  expect(result.outcomes.allow + result.outcomes.deny).toBe(200);
  expect(result.p99Ratio).toBeGreaterThan(0);
});

test.each(["typescript", "native"])(
  "on the %s engine a change of any kind that arrives ends the flows that it forbids, and no other",
  {
    timeout: 300_000,
  },
  async (engine) => {
    const args = ["--engine", engine, "--clients", "3", "--flows", "20", "--workloads", "100"];
    args.push("--policies", "10", "--changes", "2");
    const result = await runProgram<{
      flows: number;
      changes: number;
      changeMs: { p50: number; p99: number };
      kinds: Record<string, { changes: number }>;
    }>("enforcement", args, options);
    // The program itself fails when a flow stays that should go, or goes that should stay.
    expect(result.flows).toBe(100);
    expect(Object.values(result.kinds).map(({ changes }) => changes)).toEqual(Array.from({ length: 7 }, () => 2));
    expect(result.changes).toBe(14);
    expect(result.changeMs.p99).toBeGreaterThanOrEqual(result.changeMs.p50);
  },
);

test("control and an agent follow a cluster under churn, and every change of a policy comes to be in force", {
  timeout: 300_000,
}, async () => {
  const args = ["--workloads", "300", "--policies", "50", "--pods", "20", "--seconds", "2"];
  const result = await runProgram<{
    load: { controlMs: number; agentMs: number };
    memory: { atRest: { agent: { anonymous: number }; control: { anonymous: number } } };
    enforcementMs: { p50: number; seen: number; written: number };
  }>("scale", args, options);
  expect(result.load.agentMs).toBeGreaterThan(0);
  expect(result.memory.atRest.agent.anonymous).toBeGreaterThan(2 ** 20);
  expect(result.enforcementMs.written).toBe(8);
  expect(result.enforcementMs.p50).toBeGreaterThan(0);
});

test.each(["typescript", "native"])(
  "on the %s engine connections are timed without scrapes and while the page is read in both formats",
  { timeout: 300_000 },
  async (engine) => {
    const args = ["--engine", engine, "--series", "400", "--open", "20", "--rounds", "1", "--messages", "50"];
    const result = await runProgram<ScrapeReport>("scrape", [...args, "--connections", "20"], options);
    expect(result.samples).toBeGreaterThan(400);
    for (const times of [result.openMs, result.newMs]) {
      for (const condition of ["alone", "each-second", "classic", "openmetrics"] as const) {
        expect(times[condition].p50).toBeGreaterThan(0);
        expect(times[condition].p99).toBeGreaterThanOrEqual(times[condition].p50);
      }
    }
  },
);

test("a program that fails is told by its error, and one that takes too long by that", {
  timeout: 120_000,
}, async () => {
  const steam = ["--engine", "steam"];
  await expect(runProgram("enforcement", steam, options)).rejects.toThrow(
    "Error: --engine steam: there are typescript",
  );
  const hurried = runProgram("enforcement", steam, { ...options, timeoutMs: 1 });
  await expect(hurried).rejects.toThrow("not done within 0.001 s");
});
