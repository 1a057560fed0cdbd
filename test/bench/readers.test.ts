/** What the bench reads from the kernel and from other programs. */
import { expect, test } from "vitest";
import { memoryOf } from "../../bench/lab/agent.ts";
import { whyNot } from "../../bench/lab/bed.ts";
import { transferOf } from "../../bench/lab/iperf.ts";
import { assertMostlySucceeded, histogramOf, numberOf, parseReport } from "../../bench/lab/load.ts";
import { machineTime, noiseBetween, splitProcessors } from "../../bench/lab/processors.ts";
import { interleaved } from "../../bench/runner.ts";
import { enrolmentsIn } from "../../bench/scenarios/footprint.ts";
import { bisect } from "../../bench/scenarios/latency.ts";

test("processor time of the machine comes from the first line of /proc/stat", () => {
  const text = "cpu  100 0 50 800 40 0 10 20 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
  expect(machineTime(text)).toEqual({ busy: 1.6, steal: 0.2, total: 10.2 });
});

test("noise is what was stolen, and what neither the lab used nor nobody", () => {
  const before = { busy: 10, steal: 1, total: 100 };
  const after = { busy: 15, steal: 1.1, total: 110 };
  const { steal, foreign } = noiseBetween(before, after, 3);
  expect(steal).toBeCloseTo(0.01);
  expect(foreign).toBeCloseTo(0.2);
  expect(noiseBetween(before, before, 0)).toEqual({ steal: 0, foreign: 0 });
  expect(noiseBetween(before, after, 9).foreign).toBe(0);
});

test.each([
  [1, undefined],
  [2, { agents: "0", load: "1" }],
  [5, { agents: "0-1", load: "2-4" }],
])("%d processors are split between agents and load", (count, split) => {
  expect(splitProcessors(count)).toEqual(split);
});

test("memory comes from smaps_rollup", () => {
  const text = "5581-7ffe ---p 00000000 00:00 0 [rollup]\nRss:               45000 kB\nAnonymous:         30000 kB\n";
  expect(memoryOf(text)).toEqual({ anonymous: 30_000 * 1024, resident: 45_000 * 1024 });
});

test("iperf3 is believed about what arrived, and its errors are errors", () => {
  const json = JSON.stringify({ end: { sum_received: { bytes: 5e9, bits_per_second: 2e10 } } });
  expect(transferOf(json)).toEqual({ bytes: 5e9, gbitPerSecond: 20 });
  expect(() => transferOf('{"error":"unable to connect"}')).toThrow("unable to connect");
  expect(() => transferOf('{"end":{"sum_received":{"bytes":0,"bits_per_second":0}}}')).toThrow("nothing was received");
  expect(() => transferOf("segfault")).toThrow("no JSON");
});

test("a report of the load generator is checked before it is believed", () => {
  const report = parseReport('{"requests":3,"latency":{"count":1,"max":5,"buckets":[[5,1]]},"errors":{}}', "context");
  expect(numberOf(report, "requests")).toBe(3);
  expect(histogramOf(report, "latency").max).toBe(5);
  expect(() => numberOf(report, "flows")).toThrow("no flows");
  expect(() => histogramOf(report, "requests")).toThrow("no histogram requests");
  expect(() => parseReport("", "flows in warren: exit 1")).toThrow("flows in warren: exit 1");
});

test.each([
  [1000, { ECONNRESET: 10 }, true],
  [1000, { ECONNRESET: 6, ETIMEDOUT: 5 }, false],
  [0, {}, false],
])("%d successes with failures %j are good enough: %s", (succeeded, errors, fine) => {
  const check = () => assertMostlySucceeded("flows", { errors }, succeeded);
  if (fine) expect(check).not.toThrow();
  else expect(check).toThrow(/flows: \d+ succeeded, \d+ failed/);
});

test("enrolments are counted per backend", () => {
  const metrics = `warren_enrolment_duration_seconds_bucket{le="0.1",backend="ebpf"} 3
warren_enrolment_duration_seconds_sum{backend="ebpf"} 1.5
warren_enrolment_duration_seconds_count{backend="ebpf"} 5
warren_enrolment_duration_seconds_sum{backend="nftables"} 9
`;
  expect(enrolmentsIn(metrics, "ebpf")).toEqual({ count: 5, seconds: 1.5 });
  expect(enrolmentsIn(metrics, "nftables")).toEqual({ count: 0, seconds: 9 });
});

test("every second round goes backwards", () => {
  expect(interleaved(["a", "b", "c"], 1)).toEqual(["a", "b", "c"]);
  expect(interleaved(["a", "b", "c"], 2)).toEqual(["c", "b", "a"]);
});

test.each([
  [1000, 12_345],
  [1000, 900],
])("the knee between %d and 16000 is found near %d", async (low, knee) => {
  const found = await bisect(low, 16_000, 6, async (rate) => rate <= knee);
  expect(found).toBeLessThanOrEqual(Math.max(knee, low));
  expect(found).toBeGreaterThan(Math.max(knee, low) - 15_000 / 2 ** 6 - 1);
});

test("a reason is one line, with the error of a log that was quoted", () => {
  expect(whyNot(new Error("it ended"))).toBe("it ended");
  const log = "the agent ended; its log says: listening\ninfo ready\nerror no addon\ninfo stopped";
  expect(whyNot(new Error(log))).toBe("the agent ended; its log says: listening … error no addon");
});
