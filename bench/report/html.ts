/** The report as one file for a browser: verdicts first, then ratios, plots and every figure. No script, nothing loaded. Pure. */
import { merge, percentile } from "../histogram.ts";
import type { Row, Sample, Variant } from "../model.ts";
import { describeMachine, limits } from "./facts.ts";
import { cell, show, toDirect, variantsOf } from "./figures.ts";
import { type BarGroup, barPlot, colourClass, linePlot, type Series, escapeMarkup as text } from "./plots.ts";
import type { Report } from "./report.ts";
import { stylesheet } from "./stylesheet.ts";
import { goalsOf, missionVerdicts, type Outcome } from "./verdicts.ts";

const words: Readonly<Record<Outcome, string>> = {
  beaten: "better",
  inside: "as said",
  missed: "worse",
  unknown: "unknown",
};

export function renderHtml(report: Report): string {
  const { document } = report;
  const variants = variantsOf(document.scenarios);
  const body = [
    "<h1>Bench of the mesh on the lab</h1>",
    `<p class="sub">${text(`${document.env.date} · commit ${document.env.commit.slice(0, 10)} · ${document.env.rounds} interleaved rounds · medians`)}</p>`,
    "<h2>Against what the mission says of sidecar meshes</h2>",
    `<div class="verdicts">${missionVerdicts(document).map(verdictCard).join("")}</div>`,
    "<h2>Native engine over TypeScript engine</h2>",
    goalTable(report),
    "<h2>Plots</h2>",
    `<p class="legend">${variants.map((variant) => `<span><i class="${colourClass(variant)}"></i>${text(variant)}</span>`).join("")}</p>`,
    `<div class="plots">${plots(report, variants).join("")}</div>`,
    "<h2>All figures</h2>",
    "<p>Medians, in brackets the lowest and the highest round; × is the ratio to direct.</p>",
    figureTable(document.scenarios, variants),
    absenceList(report),
    `<h2>Limits</h2><ul>${limits.map((limit) => `<li>${text(limit)}</li>`).join("")}</ul>`,
    "<h2>Machine</h2>",
    `<table><tbody>${describeMachine(document.env)
      .map(([name, value]) => `<tr><th scope="row">${text(name)}</th><td>${text(value)}</td></tr>`)
      .join("")}</tbody></table>`,
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Bench, ${text(document.env.date)}</title>
<style>${stylesheet}</style>
</head>
<body><main>
${body.join("\n")}
</main></body>
</html>
`;
}

function verdictCard({ claim, outcome, found }: ReturnType<typeof missionVerdicts>[number]): string {
  return `<section class="verdict ${outcome}"><h3>${text(claim)}</h3><p><b>${words[outcome]}</b> ${text(found)}</p></section>`;
}

function goalTable({ document }: Report): string {
  const rows = goalsOf(document).map(({ name, value, unit, wants, met, reason }) => {
    const shown = value === null ? `<span class="why">${text(reason)}</span>` : text(`${show(value)}${unit}`);
    const mark = met === undefined ? "" : met ? '<span class="met">met</span>' : '<span class="unmet">missed</span>';
    return `<tr><th scope="row">${text(name)}</th><td>${shown}</td><td>${text(wants)}</td><td>${mark}</td></tr>`;
  });
  return `<table><thead><tr><th>ratio</th><th>value</th><th>goal</th><th></th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function figureTable(rows: readonly Row[], variants: readonly Variant[]): string {
  const line = (row: Row) => {
    const cells = variants.map((variant) => {
      const ratio = toDirect(row, variant);
      const reason = row.reasons[variant];
      return `<td${reason === undefined ? "" : ` title="${text(reason)}"`}>${text(cell(row, variant))}${ratio === undefined ? "" : ` <small>${show(ratio)}×</small>`}</td>`;
    });
    return `<tr><th scope="row">${text(row.name)}<small>${text(row.what)}</small></th><td>${text(row.unit)}</td>${cells.join("")}</tr>`;
  };
  return `<div class="wide"><table><thead><tr><th>measure</th><th>unit</th>${variants.map((variant) => `<th>${text(variant)}</th>`).join("")}</tr></thead><tbody>${rows.map(line).join("")}</tbody></table></div>`;
}

function absenceList({ absences }: Report): string {
  if (absences.length === 0) return "";
  const items = absences.map(
    ({ scenario, variant, reason }) => `<li>${text(`${scenario}, ${variant}: ${reason}`)}</li>`,
  );
  return `<h2>What did not run</h2><ul>${items.join("")}</ul>`;
}

function plots({ document: { scenarios }, samples }: Report, variants: readonly Variant[]): string[] {
  const group = (name: string, label: string): BarGroup[] => {
    const row = scenarios.find((one) => one.name === name);
    if (row === undefined) return [];
    const bars = variants.flatMap((variant) => {
      const [value, spread] = [row.medians[variant], row.spreads[variant]];
      return typeof value === "number" && spread ? [{ variant, value, low: spread.low, high: spread.high }] : [];
    });
    return [{ label, bars }];
  };
  const throughput = scenarios.filter(({ name }) => name.startsWith("throughput_"));
  const shares = scenarios.flatMap(({ name }) => /^openloop_(\d+)_p99$/.exec(name)?.[1] ?? []).map(Number);
  return [
    barPlot(
      "Throughput",
      "Gbit/s",
      throughput.flatMap(({ name }) => group(name, name.replace("throughput_", "").replace("_reverse", " ⇠"))),
    ),
    barPlot("Processor time of both agents per GB", "CPU-s/GB", [
      ...group("cpu_per_gb", "as it is"),
      ...group("masked_cpu_per_gb", "AES-NI masked"),
    ]),
    latencyPlot(samples, variants, shares.includes(70) ? 70 : shares.at(-1)),
    linePlot(
      {
        title: "99th percentile over offered rate, percent of the TypeScript engine's knee",
        yLabel: "ms",
        xTicks: shares.map((share) => [share, `${share} %`]),
      },
      variants.map((variant) => ({ variant, points: shares.flatMap((share) => pointAt(scenarios, variant, share)) })),
    ),
    barPlot("1 KiB ping-pong", "µs", [...group("pingpong_p50", "p50"), ...group("pingpong_p99", "p99")]),
    barPlot("New flows on warm tunnels", "flows/s", group("warm_flows_per_s", "16 at a time")),
    barPlot("Fresh mutual TLS sessions", "sessions/s", [
      ...group("sessions_full_per_s", "full"),
      ...group("sessions_resumed_per_s", "resumed"),
    ]),
    barPlot("Anonymous memory per idle flow and agent", "bytes", group("bytes_per_idle_flow", "idle")),
  ].filter((plot) => plot !== "");
}

function pointAt(rows: readonly Row[], variant: Variant, share: number): [number, number][] {
  const value = rows.find(({ name }) => name === `openloop_${share}_p99`)?.medians[variant];
  return typeof value === "number" ? [[share, value]] : [];
}

/** Percentiles on an axis of nines: what one in ten, in a hundred, in a thousand waits. */
function latencyPlot(samples: readonly Sample[], variants: readonly Variant[], share: number | undefined): string {
  if (share === undefined) return "";
  const nines = Array.from({ length: 31 }, (_, index) => index / 10);
  const series = variants.flatMap((variant): Series[] => {
    const found = samples.flatMap((sample) =>
      sample.variant === variant ? (sample.histograms[`openloop_${share}`] ?? []) : [],
    );
    if (found.length === 0) return [];
    const all = merge(found);
    return [{ variant, points: nines.map((nine) => [nine, (percentile(all, 1 - 10 ** -nine) ?? 0) / 1e6] as const) }];
  });
  const xTicks = [
    [0.301, "50 %"],
    [1, "90 %"],
    [2, "99 %"],
    [3, "99.9 %"],
  ] as const;
  return linePlot(
    {
      title: `Open-loop latency at ${share} % of the knee, all rounds, from when each request was due`,
      yLabel: "ms",
      xTicks,
    },
    series,
  );
}
