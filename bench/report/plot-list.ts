/** Which figures are drawn, and how. Pure. */
import { merge, percentile } from "../histogram.ts";
import { type BenchDocument, localVariant, type Row, type Sample, type Variant } from "../model.ts";
import { variantsOf } from "./figures.ts";
import { type BarGroup, barPlot, linePlot, type Series } from "./plots.ts";
import type { Report } from "./report.ts";

/** Of the scenarios between pods: others hold different things against each other and are told in the tables. */
export function plottedVariants({ scenarios }: BenchDocument): readonly Variant[] {
  const names = plottedRows(scenarios).flatMap((name) => scenarios.filter((row) => row.name === name));
  // As in the columns of the widest table: what runs on one node only comes before what a peer gives.
  const found = variantsOf(names);
  const order = ["direct", "typescript", "warren", localVariant];
  return [...order.filter((name) => found.includes(name)), ...found.filter((name) => !order.includes(name))];
}

function plottedRows(rows: readonly Row[]): string[] {
  return rows
    .map(({ name }) => name)
    .filter((name) => /^(samenode_)?(throughput|pingpong|openloop|warm|idle|scrape)/.test(name));
}

export function plotList({ document, samples }: Report): string[] {
  const { scenarios } = document;
  const variants = plottedVariants(document);
  const group = (name: string, label: string): BarGroup[] => {
    const row = scenarios.find((one) => one.name === name);
    const bars = variants.flatMap((variant) => {
      const [value, spread] = [row?.medians[variant], row?.spreads[variant]];
      return typeof value === "number" && spread ? [{ variant, value, low: spread.low, high: spread.high }] : [];
    });
    return bars.length === 0 ? [] : [{ label, bars }];
  };
  const streams = (prefix: string) =>
    scenarios
      .map(({ name }) => name)
      .filter((name) => name.startsWith(prefix))
      .flatMap((name) => group(name, streamsLabel(name.slice(prefix.length))));
  const shares = scenarios.flatMap(({ name }) => /^openloop_(\d+)_p99$/.exec(name)?.[1] ?? []).map(Number);
  return [
    barPlot("Throughput by number of streams", "Gbit/s", streams("throughput_")),
    barPlot("Processor time of both agents per GB", "CPU-s/GB", [
      ...group("cpu_per_gb", "as it is"),
      ...group("masked_cpu_per_gb", "AES-NI masked"),
    ]),
    barPlot("1 KiB ping-pong, 50th percentile", "µs", [
      ...group("pingpong_p50", "between nodes"),
      ...group("samenode_pingpong_p50", "on one node"),
    ]),
    barPlot("1 KiB ping-pong, 99th percentile", "µs", [
      ...group("pingpong_p99", "between nodes"),
      ...group("samenode_pingpong_p99", "on one node"),
    ]),
    barPlot("New flows on warm tunnels, 16 at a time", "flows/s", [
      ...group("warm_flows_per_s", "between nodes"),
      ...group("samenode_warm_flows_per_s", "on one node"),
    ]),
    latencyPlot(samples, variants, shares.includes(70) ? 70 : shares.at(-1)),
    shares.length < 2
      ? ""
      : linePlot(
          {
            title: "99th percentile of open-loop latency over offered rate, in shares of the knee",
            unit: "ms",
            xTicks: shares.map((share) => [share, `${share} %`]),
          },
          variants.map((variant) => ({
            variant,
            points: shares.flatMap((share) => pointAt(scenarios, variant, share)),
          })),
        ),
    barPlot("Throughput on one node by number of streams", "Gbit/s", streams("samenode_throughput_")),
    barPlot("HTTP requests on 16 connections", "requests/s", [
      ...group("http_bytes_per_s", "carried as bytes"),
      ...group("http_rules_per_s", "judged one by one"),
    ]),
    ...(["open", "new"] as const).map((which) =>
      barPlot(
        which === "open"
          ? "One byte on an open connection while metrics are scraped, 99th percentile"
          : "A new connection while metrics are scraped, 99th percentile",
        "ms",
        [
          ...group(`scrape_${which}_alone_p99`, "no scrape"),
          ...group(`scrape_${which}_each_second_p99`, "each second"),
          ...group(`scrape_${which}_classic_p99`, "classic"),
          ...group(`scrape_${which}_openmetrics_p99`, "OpenMetrics"),
        ],
      ),
    ),
    barPlot("Fresh mutual TLS sessions", "sessions/s", [
      ...group("sessions_full_per_s", "full"),
      ...group("sessions_resumed_per_s", "resumed"),
    ]),
    barPlot("Anonymous memory per idle flow and agent", "bytes", group("bytes_per_idle_flow", "idle")),
  ].filter((plot) => plot !== "");
}

function streamsLabel(name: string): string {
  return name.endsWith("_reverse") ? `${name.replace("_reverse", "")} ⇠` : name;
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
      unit: "ms",
      xTicks,
    },
    series,
  );
}
