/** What reading requests costs: the same server behind two ports, one of which has HTTP rules that let every request through. */
import { percentile } from "../histogram.ts";
import type { LabBed, Recipe } from "../lab/bed.ts";
import { assertMostlySucceeded, histogramOf, numberOf, runLoad } from "../lab/load.ts";
import { httpPort, pair, rulesPort } from "../lab/manifests.ts";
import { splitProcessors } from "../lab/processors.ts";
import type { Histogram, Noise } from "../model.ts";
import type { Context, Scenario, ScenarioMeasure } from "./scenario.ts";
import { loudest } from "./throughput.ts";

const connections = 16;
const warmUpSeconds = 3;

/** An ALLOW policy forbids what it does not name, so the port without HTTP rules is named too, by its number alone. */
const rules = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: requests, namespace: production},
  spec: {rules: [{from: [{source: {principals: [cluster.local/ns/production/sa/client]}}], to: [{operation: {ports: ["${rulesPort}"], methods: [GET], paths: ["/orders/*"]}}]},
    {to: [{operation: {notPorts: ["${rulesPort}"]}}]}]}}`;

const recipe: Recipe = { name: "http-rules", cast: pair, manifests: [rules], apart: true };

const ports = [
  { port: httpPort, name: "http_bytes", how: "carried as bytes" },
  { port: rulesPort, name: "http_rules", how: "read and judged one by one (TypeScript, with either engine)" },
] as const;

export function httpRules(): Scenario {
  const measures = ports.flatMap(({ name, how }): ScenarioMeasure[] => {
    const what = `GET requests of HTTP/1.1 with answers of 64 bytes on ${connections} connections, one after the other on each, ${how}`;
    return [
      { name: `${name}_per_s`, unit: "requests/s", better: "more", what },
      { name: `${name}_p50`, unit: "ms", better: "less", what: `${what}, 50th percentile` },
      { name: `${name}_p99`, unit: "ms", better: "less", what: `${what}, 99th percentile` },
      {
        name: `${name}_cpu_per_1k`,
        unit: "CPU-s/1000",
        better: "less",
        what: `${what}, processor time of both agents per 1000`,
      },
    ];
  });
  return {
    name: "http-rules",
    kind: "pods",
    quick: false,
    recipe,
    sameNode: false,
    freshBeds: false,
    measures,
    unsuited: { direct: "it judges nothing", peer: "its rules would be its own" },
    prepare: async (bed, context) => {
      // Requests are judged by JavaScript, which is slow until it is compiled.
      for (const { port } of ports)
        await ask(bed, port, { ...context, pace: { ...context.pace, flowsSeconds: warmUpSeconds } });
    },
    measure: measureBoth,
  };
}

async function measureBoth(bed: LabBed, context: Context) {
  await bed.bind(splitProcessors());
  const values: Record<string, number> = {};
  const histograms: Record<string, Histogram> = {};
  const noise: Noise[] = [];
  for (const { port, name } of ports) {
    const run = await ask(bed, port, context);
    values[`${name}_per_s`] = run.requests / context.pace.flowsSeconds;
    values[`${name}_p50`] = (percentile(run.latency, 0.5) ?? Number.NaN) / 1e6;
    values[`${name}_p99`] = (percentile(run.latency, 0.99) ?? Number.NaN) / 1e6;
    values[`${name}_cpu_per_1k`] = run.agentSeconds / (run.requests / 1000);
    histograms[name] = run.latency;
    noise.push(run.noise);
  }
  return { values, histograms, noise: loudest(noise) };
}

async function ask(bed: LabBed, port: number, { pace: { flowsSeconds: seconds }, signal }: Context) {
  // No warm-up: every request is in the processor time, so every one must be in the count.
  const options = { target: bed.target(port), connections, http: 1, seconds, "warm-up": 0 };
  return bed.observe(async () => {
    const report = await runLoad(bed, "pingpong", options, seconds, signal);
    const requests = numberOf(report, "requests");
    assertMostlySucceeded("HTTP requests", report, requests);
    return { requests, latency: histogramOf(report, "latency") };
  });
}
