import { z } from "zod";
import { duration, path } from "../../lib/config-schema.ts";

/** Knobs of the export to collectors of OpenTelemetry. */
export const otlp = z
  .strictObject({
    endpoint: z
      .url({ protocol: /^https?$/, error: "is not a URL; write it like http://collector.observability:4318" })
      .optional()
      .describe(
        "Collector that takes OTLP over HTTP; v1/logs, v1/metrics and v1/traces are added. Default: none, and no OpenTelemetry package is loaded.",
      ),
    logs: z
      .boolean()
      .prefault(true)
      .describe(
        "Send the access log, beside its lines and as accessLog.mode, namespaces and sample leave it; only with an endpoint.",
      ),
    metrics: z.boolean().prefault(true).describe("Send what /metrics shows; only with an endpoint."),
    traces: z
      .boolean()
      .prefault(true)
      .describe("Send a span for each connection at both its ends, joined by traceparent; only with an endpoint."),
    traceSample: z
      .number()
      .min(0)
      .max(1)
      .prefault(1)
      .describe(
        "Share of the connections that are traced, decided where they begin; what another end has decided is followed.",
      ),
    headersFile: path()
      .optional()
      .describe(
        "File with headers for the collector, such as its key, one name: value per line; read before each batch.",
      ),
    caFile: path()
      .optional()
      .describe(
        "PEM file with the roots to know an https collector by; read for the first batch. Default: those of the runtime.",
      ),
    interval: duration({ min: "100ms", max: "5m" })
      .prefault("5s")
      .describe("How long records and spans are gathered before they are sent."),
    metricsInterval: duration({ min: "100ms", max: "1h" }).prefault("30s").describe("How often metrics are sent."),
    queue: z
      .int()
      .min(512)
      .max(1_000_000)
      .prefault(16_384)
      .describe(
        "Records, and as many spans, that may wait for the collector; more are dropped and counted. About 1 KiB each.",
      ),
  })
  .describe("Access log, metrics and connections for a collector of OpenTelemetry.");

/** Whether connections become spans: then closing records must tell their `traceparent`. */
export function tracesOf({ endpoint, traces, traceSample }: z.output<typeof otlp>): {
  readonly carried: boolean;
  readonly share: number;
} {
  return { carried: endpoint !== undefined && traces, share: traceSample };
}
