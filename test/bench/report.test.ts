import { expect, test } from "vitest";
import { renderHtml } from "../../bench/report/html.ts";
import { renderMarkdown } from "../../bench/report/markdown.ts";
import { barPlot, linearTicks, linePlot } from "../../bench/report/plots.ts";
import type { Report } from "../../bench/report/report.ts";
import { goalsOf, missionVerdicts } from "../../bench/report/verdicts.ts";
import { documentOf, sample } from "./objects.ts";

const whole = documentOf({
  throughput_1: { direct: 30, typescript: 2, warren: 12 },
  first_byte_added_p50: { typescript: 1530, warren: 300 },
  sessions_full_p50: { typescript: 6, warren: 2.5 },
  openloop_50_cpu_per_1k: { typescript: 0.09, warren: 0.03 },
  openloop_50_p99: { direct: 0.1, typescript: 4, warren: 1 },
  openloop_70_p99: { direct: 0.1, typescript: 6, warren: 2 },
  memory_per_pod: { typescript: 500, warren: 400 },
  agent_anonymous: { typescript: 46, warren: 45 },
  rotation_p99: { typescript: 9, warren: 1.1 },
  rotation_unanswered: { typescript: 0, warren: 0 },
  rotation_renewals: { typescript: 4, warren: 4 },
});

const report: Report = {
  document: whole,
  samples: [
    {
      ...sample("openloop", "warren", 1, {}),
      histograms: {
        openloop_70: {
          count: 2,
          max: 3e6,
          buckets: [
            [1e6, 1],
            [3e6, 1],
          ],
        },
      },
    },
  ],
  absences: [{ scenario: "masked", variant: "direct", reason: "it encrypts <nothing>" }],
};

test("each claim of the mission gets a verdict by the native engine's figures", () => {
  expect(missionVerdicts(whole).map(({ outcome }) => outcome)).toEqual([
    "beaten",
    "inside",
    "beaten",
    "beaten",
    "inside",
  ]);
});

test("without the native engine the other one is judged, and what was not measured is unknown", () => {
  const verdicts = missionVerdicts(documentOf({ sessions_full_p50: { typescript: 6 } }));
  expect(verdicts.map(({ outcome }) => outcome)).toEqual(["unknown", "missed", "unknown", "unknown", "unknown"]);
  expect(verdicts[1]?.found).toContain("typescript");
  expect(verdicts[0]?.found).toContain("--scenario connect");
});

test("rotation that costs requests is not negligible", () => {
  const lost = documentOf({
    openloop_50_p99: { warren: 1 },
    rotation_p99: { warren: 1 },
    rotation_unanswered: { warren: 2 },
    rotation_renewals: { warren: 4 },
  });
  expect(missionVerdicts(lost).at(-1)?.outcome).toBe("missed");
});

test("goals are met, missed, or without a figure that says why", () => {
  const goals = new Map(goalsOf(whole).map((goal) => [goal.name, goal]));
  expect(goals.get("throughput_1")).toMatchObject({ value: 6, met: true });
  expect(goals.get("openloop_p99")).toMatchObject({ value: 0.333, met: true });
  expect(goals.get("throughput_1, of direct")).toMatchObject({ value: 0.4, met: true });
  expect(goals.get("throughput_8")).toMatchObject({
    value: null,
    met: undefined,
    reason: "its scenario was not among those asked for",
  });
});

test("the page is one file with nothing to load, verdicts before figures, and escapes what it shows", () => {
  const html = renderHtml(report);
  expect(html).not.toMatch(/<script|<link|src=|href=|url\(|@import/);
  expect(html.indexOf("1–3 ms per new connection")).toBeLessThan(html.indexOf("All figures"));
  expect(html).toContain("prefers-color-scheme: dark");
  expect(html).toContain("it encrypts &lt;nothing&gt;");
  expect(html).toContain("Test &lt;CPU&gt;");
  expect(html).not.toContain("NaN");
  expect(html.match(/<svg/g)?.length).toBeGreaterThanOrEqual(3);
});

test("the text names every measure and every absence", () => {
  const text = renderMarkdown(report);
  for (const { name } of whole.scenarios) expect(text).toContain(`\`${name}\``);
  expect(text).toContain("masked, direct: it encrypts <nothing>");
  expect(text).toContain("12 (12–12) · 0.4×");
});

test("a plot of nothing is no plot", () => {
  expect(barPlot("empty", "s", [])).toBe("");
  expect(barPlot("zeros", "s", [{ label: "a", bars: [{ variant: "direct", value: 0, low: 0, high: 0 }] }])).toBe("");
  expect(linePlot({ title: "empty", yLabel: "ms", xTicks: [] }, [{ variant: "direct", points: [[1, 0]] }])).toBe("");
});

test.each([
  [1, [0, 0.25, 0.5, 0.75, 1]],
  [32.5, [0, 10, 20, 30, 40]],
  [0.07, [0, 0.02, 0.04, 0.06, 0.08]],
])("an axis up to %d is marked in round steps", (top, ticks) => {
  expect(linearTicks(top)).toEqual(ticks);
});
