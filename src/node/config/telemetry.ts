/** What the agent says of itself and of the traffic, and the bounds of that. */
import { z } from "zod";
import { byteSize, duration, path } from "../../lib/config-schema.ts";
import { type AccessMode, accessModes } from "../../telemetry/access-choice.ts";

export const log = z
  .strictObject({
    level: z
      .enum(["trace", "debug", "info", "warn", "error"])
      .prefault("info")
      .describe("Least severe level written; can be changed while running by POST /log-level."),
    format: z
      .enum(["text", "json"])
      .prefault("text")
      .describe("text is key=value for people, json is for collectors. Holds for the access log too."),
  })
  .describe("The agent's own log, on standard output.");

const accessNamespace = z.string().transform((text, context): readonly [string, AccessMode] => {
  const [, namespace = "", word = ""] = /^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)=(.*)$/.exec(text) ?? [];
  const mode = accessModes.find((known) => known === word);
  if (namespace !== "" && mode !== undefined) return [namespace, mode];
  context.addIssue({
    code: "custom",
    message: `${JSON.stringify(text)} is not namespace=mode; write it like production=off, modes are ${accessModes.join(", ")}`,
  });
  return z.NEVER;
});

export const accessLog = z
  .strictObject({
    mode: z
      .enum(accessModes)
      .prefault("all")
      .describe("Which connections get a line at their end. failures keeps refusals and errors only."),
    namespaces: z
      .array(accessNamespace)
      .prefault([])
      .describe(
        "Modes of namespaces that have their own, like production=off,dev=failures; the namespace is the pod's.",
      ),
    sample: z
      .number()
      .min(0)
      .max(1)
      .prefault(1)
      .describe("Share of successful connections that get a line, from 0 to 1. Refusals and errors always do."),
    path: path().optional().describe("File to append to. Default: standard output, beside the agent's log."),
    buffer: byteSize({ min: "64KiB", max: "64MiB" })
      .prefault("4MiB")
      .describe(
        "Lines waiting for a slow reader; above it lines are dropped and counted, because logging must never hold up traffic. About 8000 lines.",
      ),
  })
  .describe("One line per connection, at its end.");

export const metricsLimits = z
  .strictObject({
    series: z
      .int()
      .min(16)
      .max(100_000)
      .prefault(1000)
      .describe("Distinct label sets of the istio_tcp_* families; more go into one series whose labels read other."),
    seriesIdle: duration({ min: "1m" })
      .prefault("1h")
      .describe("A label set unused for this long is dropped, so that deleted workloads do not stay for ever."),
  })
  .describe("Bounds of the metrics, so that churn of workloads cannot grow them without end.");
