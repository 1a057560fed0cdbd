import { expect, test } from "vitest";
import { otherGoals, ratioGoals } from "../../bench/report/goals.ts";
import { renderHtml } from "../../bench/report/html.ts";
import { renderMarkdown } from "../../bench/report/markdown.ts";
import { barPlot, linearTicks, linePlot } from "../../bench/report/plots.ts";
import type { Report } from "../../bench/report/report.ts";
import { missionVerdicts } from "../../bench/report/verdicts.ts";
import { makeDocument } from "../../bench/summary.ts";
import { documentOf, environment, measure, sample } from "./objects.ts";

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
  samenode_pingpong_added_p50: { typescript: 150, warren: 80, "warren-local": 20 },
  http_bytes_cpu_per_1k: { typescript: 0.1, warren: 0.02 },
  http_rules_cpu_per_1k: { typescript: 0.2, warren: 0.16 },
  http_bytes_per_s: { typescript: 9000, warren: 30_000 },
  http_rules_per_s: { typescript: 4000, warren: 5000 },
  decision_p99: { index: 10, scan: 900 },
  enforcement_p99: { typescript: 14, warren: 12 },
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
  const goals = new Map([...ratioGoals(whole), ...otherGoals(whole)].map((goal) => [goal.name, goal]));
  expect(goals.get("throughput_1")).toMatchObject({ value: 6, met: true });
  expect(goals.get("openloop_p99")).toMatchObject({ value: 0.333, met: true });
  expect(goals.get("throughput of 1 stream, of direct")).toMatchObject({ value: 0.4, met: true });
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
  expect(linePlot({ title: "empty", unit: "ms", xTicks: [] }, [{ variant: "direct", points: [[1, 0]] }])).toBe("");
});

test.each([
  [1, [0, 0.25, 0.5, 0.75, 1]],
  [32.5, [0, 10, 20, 30, 40]],
  [0.07, [0, 0.02, 0.04, 0.06, 0.08]],
])("an axis up to %d is marked in round steps", (top, ticks) => {
  expect(linearTicks(top)).toEqual(ticks);
});

test("goals of other scenarios are judged by their own columns", () => {
  const goals = otherGoals(whole);
  const found = (word: string) => goals.find(({ name }) => name.includes(word));
  expect(found("linear scan over index")).toMatchObject({ value: 90, met: true });
  expect(found("localTraffic auto")).toMatchObject({ value: 0.25, met: true });
  expect(found("end of a flow")).toMatchObject({ value: 12, met: false });
  expect(found("HTTP rules judge")).toMatchObject({ value: 8, met: undefined });
  expect(found("resident")).toMatchObject({
    value: null,
    reason: "not measured in this run: --scenario footprint",
  });
});

test("the page begins with verdicts and goals, and draws each kind of figure with its unit", () => {
  const html = renderHtml(report);
  const at = (text: string) => {
    expect(html.includes(text), text).toBe(true);
    return html.indexOf(text);
  };
  const order = [
    "<h1>",
    'class="verdict beaten"',
    "Native engine over TypeScript engine",
    "<h2>Plots",
    "<h2>All figures",
  ];
  expect(order.map(at)).toEqual(order.map(at).toSorted((one, other) => one - other));
  for (const title of [
    "Throughput by number of streams, Gbit/s",
    "Open-loop latency at 70 % of the knee",
    "HTTP requests on 16 connections",
  ]) {
    const figure = html.slice(at(`<figcaption>${title}`)).split("</figure>")[0] ?? "";
    expect(figure).toMatch(/<rect class="v-warren"|<path class="line v-warren"/);
  }
  expect(html).toContain('<i class="v-warren-local"></i>warren-local');
  // Columns of one scenario are no columns of another.
  expect(html).toContain("<th>unit</th><th>index</th><th>scan</th></tr>");
});

test("a verdict without a figure says what failed when it was tried", () => {
  const document = makeDocument(environment, {
    scenarios: [{ name: "connect", measures: [measure("first_byte_added_p50")], variants: ["warren"] }],
    samples: [],
    absences: [{ scenario: "connect", variant: "warren", reason: "its lab did not come up: no addon" }],
  });
  expect(missionVerdicts(document)[0]).toMatchObject({
    outcome: "unknown",
    found: "no figure: its lab did not come up: no addon",
  });
});

test("a report from a cluster says so, and what that limits", () => {
  const document = { ...whole, env: { ...whole.env, target: "kind" as const } };
  for (const text of [renderHtml({ ...report, document }), renderMarkdown({ ...report, document })]) {
    expect(text).toContain("Bench of the mesh on a cluster (kind)");
    expect(text).toContain("containers on one kernel");
    expect(text).not.toContain("The lab is network namespaces");
  }
});

test("a loud machine is told of before anything else, a quiet one not", () => {
  const document = { ...whole, env: { ...whole.env, noise: { steal: 0, foreign: 0.83 } } };
  const html = renderHtml({ ...report, document });
  const at = html.indexOf("other programs used 83 % of its processors");
  expect(at).toBeGreaterThan(0);
  expect(at).toBeLessThan(html.indexOf('class="verdicts"'));
  expect(renderMarkdown({ ...report, document })).toContain("> The machine was not quiet");
  expect(renderHtml(report)).not.toContain("The machine was not quiet");
});

test("goals that nobody asked about are one sentence", () => {
  const text = renderMarkdown(report);
  expect(text).toMatch(/^Not measured in this run: .*agent at rest, resident memory.*\.$/m);
  expect(text).not.toContain("| agent at rest, resident memory |");
  expect(text).toContain("| agent at rest, anonymous memory | 45 MiB | ≤ 50 MiB | met |");
});
