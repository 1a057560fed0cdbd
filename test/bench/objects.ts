/** Documents of the bench, small and whole, for tests of what is made from them. */
import type { BenchDocument, Environment, Row, Sample, Variant } from "../../bench/model.ts";
import { type Measured, makeDocument } from "../../bench/summary.ts";

export const environment: Environment = {
  date: "2026-11-22T01:02:03.000Z",
  target: "lab",
  quick: true,
  rounds: 3,
  cpu: { model: "Test <CPU>", count: 2, flags: ["aes"] },
  memoryBytes: 2 ** 33,
  kernel: "6.1.0",
  node: "v24.0.0",
  openssl: "3.5.0",
  nghttp2: "1.70.0",
  iperf3: "iperf 3.12",
  mtu: 1500,
  commit: "0123456789abcdef",
  changed: false,
  program: "dist",
  pinning: { agents: "0", load: "1" },
  realTime: true,
  aes256gcm: { plain: 10, masked: 0.5 },
  knee: { variant: "typescript", requestsPerSecond: 10_000 },
  noise: { steal: 0, foreign: 0.01 },
};

export function sample(scenario: string, variant: Variant, round: number, values: Record<string, number>): Sample {
  return { scenario, variant, round, values, histograms: {}, noise: { steal: 0, foreign: 0 } };
}

export const measure = (name: string, more: Partial<Measured["scenarios"][number]["measures"][number]> = {}) => ({
  name,
  unit: "µs",
  better: "less" as const,
  what: `what ${name} is`,
  ...more,
});

/** Some scenarios have columns of their own, and these are theirs. */
const alone = (name: string) => name.startsWith("decision") || ["index", "scan"].includes(name);

/** A document whose rows have these medians, each over one round. */
export function documentOf(medians: Readonly<Record<string, Readonly<Record<Variant, number>>>>): BenchDocument {
  const names = Object.keys(medians);
  const variants = [...new Set(Object.values(medians).flatMap((of) => Object.keys(of)))];
  const samples = variants.flatMap((variant) =>
    names.flatMap((name) => {
      const value = medians[name]?.[variant];
      return value === undefined ? [] : [sample(name, variant, 1, { [name]: value })];
    }),
  );
  const scenarios = names.map((name) => ({
    name,
    measures: [measure(name)],
    variants: variants.filter((variant) => alone(name) === alone(variant)),
  }));
  return makeDocument(environment, { scenarios, samples, absences: [] });
}

export function rowOf(document: BenchDocument, name: string): Row {
  const row = document.scenarios.find((one) => one.name === name);
  if (row === undefined) throw new Error(`no row ${name}`);
  return row;
}
