import { z } from "zod";
import { duration, path } from "../../lib/config-schema.ts";

/** Knobs of the export to collectors of OpenTelemetry. */
export const otlp = z
  .strictObject({
    endpoint: z
      .url({ protocol: /^https?$/, error: "is not a URL; write it like http://collector.observability:4318" })
      .optional()
      .describe(
        "Collector that takes the access log as OTLP over HTTP, beside the lines; v1/logs is added. Default: none, and no OpenTelemetry package is loaded.",
      ),
    headersFile: path()
      .optional()
      .describe(
        "File with headers for the collector, such as its key, one name: value per line; read before each batch.",
      ),
    interval: duration({ min: "100ms", max: "5m" })
      .prefault("5s")
      .describe("How long records are gathered before they are sent."),
    queue: z
      .int()
      .min(512)
      .max(1_000_000)
      .prefault(16_384)
      .describe("Records that may wait for the collector; more are dropped and counted. About 1 KiB each."),
  })
  .describe("The access log for a collector of OpenTelemetry, as accessLog.mode, namespaces and sample leave it.");
