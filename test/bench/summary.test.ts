import { expect, test } from "vitest";
import { makeDocument } from "../../bench/summary.ts";
import { documentOf, environment, measure, rowOf, sample } from "./objects.ts";

const pingpong = {
  name: "pingpong",
  variants: ["direct", "typescript", "warren"],
  measures: [measure("pingpong_p50"), measure("pingpong_added_p50", { addedTo: "pingpong_p50" })],
};

test("what a variant adds is taken within each round, then the median", () => {
  const values = { direct: [10, 100, 20], typescript: [30, 130, 60], warren: [15, 110, 30] };
  const samples = Object.entries(values).flatMap(([variant, times]) =>
    times.map((time, index) => sample("pingpong", variant, index + 1, { pingpong_p50: time })),
  );
  const document = makeDocument(environment, { scenarios: [pingpong], samples, absences: [] });
  expect(rowOf(document, "pingpong_added_p50").medians).toEqual({ direct: null, typescript: 30, warren: 10 });
  expect(document.ratios.pingpong_added_p50).toBe(0.333);
});

test("a variant without direct has nothing to be added to", () => {
  const samples = [sample("pingpong", "warren", 1, { pingpong_p50: 5 })];
  const document = makeDocument(environment, {
    scenarios: [{ ...pingpong, variants: ["warren"] }],
    samples,
    absences: [],
  });
  expect(rowOf(document, "pingpong_added_p50").reasons).toEqual({ warren: "direct was not among the variants" });
});

test("each ratio is warren's median over typescript's", () => {
  const { ratios, reasons } = documentOf({
    throughput_1: { direct: 30, typescript: 2, warren: 6 },
    throughput_8: { direct: 30, typescript: 2, warren: 8 },
    cpu_per_gb: { typescript: 4, warren: 1 },
    warm_flows_per_s: { typescript: 1000, warren: 5000 },
    pingpong_added_p50: { typescript: 200, warren: 50 },
    openloop_70_p99: { typescript: 9, warren: 3 },
    bytes_per_idle_flow: { typescript: 20_000, warren: 1000 },
  });
  expect(ratios).toEqual({
    throughput_1: 3,
    throughput_8: 4,
    cpu_per_gb: 0.25,
    warm_flows_per_s: 5,
    pingpong_added_p50: 0.25,
    openloop_p99: 0.333,
    bytes_per_idle_flow: 0.05,
  });
  expect(reasons).toEqual({});
});

test("a null ratio says why", () => {
  const variants = ["typescript", "warren"];
  const document = makeDocument(environment, {
    scenarios: [
      { name: "throughput", measures: [measure("throughput_1")], variants },
      { name: "idle", measures: [measure("bytes_per_idle_flow")], variants },
    ],
    samples: [
      sample("throughput", "typescript", 1, { throughput_1: 2 }),
      sample("idle", "typescript", 1, { bytes_per_idle_flow: -5 }),
      sample("idle", "warren", 1, { bytes_per_idle_flow: 5 }),
    ],
    absences: [{ scenario: "throughput", variant: "warren", reason: "its lab did not come up: no addon" }],
  });
  expect(document.ratios).toMatchObject({ throughput_1: null, throughput_8: null, bytes_per_idle_flow: null });
  expect(document.reasons).toMatchObject({
    throughput_1: "warren: its lab did not come up: no addon",
    throughput_8: "its scenario was not among those asked for",
    bytes_per_idle_flow: "typescript's figure is not above zero, so that nothing can be held against it",
  });
});

test("a figure that a variant can't have is told from one that failed", () => {
  const cpu = {
    name: "throughput",
    variants: ["direct", "warren"],
    measures: [measure("throughput_1"), measure("cpu_per_gb", { absent: "no agents" })],
  };
  const document = makeDocument(environment, {
    scenarios: [cpu],
    samples: [sample("throughput", "direct", 1, { throughput_1: 30 })],
    absences: [{ scenario: "throughput", variant: "warren", reason: "round 1 failed: it broke" }],
  });
  expect(rowOf(document, "cpu_per_gb").reasons).toEqual({ direct: "no agents", warren: "round 1 failed: it broke" });
});
