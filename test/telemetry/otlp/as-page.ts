/** Metrics that a collector took, written as the samples that a scraper would have read: what both say can then be compared. */
import type { TakenMetric, TakenPoint } from "./collector-double.ts";

export function asPage(metrics: readonly TakenMetric[]): string[] {
  return metrics.flatMap(({ name, kind, points }) =>
    points.flatMap((point) =>
      kind === "histogram" ? histogram(name, point) : [sample(name, point.attributes, point.value)],
    ),
  );
}

/** The samples of a page in the classic format, without those that are different each time they are read. */
export function samplesOf(page: readonly string[] | string): string[] {
  const lines = typeof page === "string" ? page.split("\n") : page;
  const fleeting = /^(#|process_|nodejs_|warren_(event_loop|otlp|mesh_age|certificate_expiry|engine|driver)_|$)/;
  return lines.filter((line) => !fleeting.test(line)).sort();
}

function histogram(name: string, { attributes, value, sum = 0, buckets = [], bounds = [] }: TakenPoint): string[] {
  let upTo = 0;
  const lines = buckets.map((count, index) => {
    upTo += count;
    const le = bounds[index];
    return sample(`${name}_bucket`, { le: le === undefined ? "+Inf" : String(le), ...attributes }, upTo);
  });
  return [...lines, sample(`${name}_sum`, attributes, sum), sample(`${name}_count`, attributes, value)];
}

function sample(name: string, labels: TakenPoint["attributes"], value: number): string {
  const escaped = (text: unknown) =>
    String(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`;
}
