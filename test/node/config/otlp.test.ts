import { describe, expect, it } from "vitest";
import { otlp, tracesOf } from "../../../src/node/config/otlp.ts";

const endpoint = "http://collector.observability:4318";

describe("the export to a collector", () => {
  it("is off without an endpoint, and all of it on with one", () => {
    expect(otlp.parse({}).endpoint).toBeUndefined();
    expect(otlp.parse({ endpoint })).toMatchObject({
      endpoint,
      logs: true,
      metrics: true,
      traces: true,
      traceSample: 1,
      interval: 5000,
      metricsInterval: 30_000,
      queue: 16_384,
    });
  });

  it.each([
    ["no endpoint", {}, { carried: false, share: 1 }],
    ["an endpoint", { endpoint }, { carried: true, share: 1 }],
    ["traces off", { endpoint, traces: false }, { carried: false, share: 1 }],
    // Traces that others began are followed.
    ["none that begin here", { endpoint, traceSample: 0 }, { carried: true, share: 0 }],
  ])("lets closing records tell their trace only where spans are sent: %s", (_what, config, traces) => {
    expect(tracesOf(otlp.parse(config))).toEqual(traces);
  });

  it.each([
    ["a share above all", { endpoint, traceSample: 1.1 }],
    ["an endpoint of gRPC", { endpoint: "grpc://collector:4317" }],
    ["a queue that holds less than a few batches", { endpoint, queue: 100 }],
    ["a knob that is none", { endpoint, protocol: "grpc" }],
  ])("refuses %s", (_what, config) => {
    expect(otlp.safeParse(config).success).toBe(false);
  });
});
