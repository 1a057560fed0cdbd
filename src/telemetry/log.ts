/** The agent's own log: pino, with text for people or JSON for collectors, written through a bounded sink. */
import { type Level, type Logger, pino } from "pino";
import { type FieldValue, fieldsText, type LogFormat } from "./line-format.ts";
import type { LineSink } from "./line-sink.ts";

export type { Logger } from "pino";

export interface LogOptions {
  readonly level: Level;
  readonly format: LogFormat;
}

/** Keys whose values are never written, wherever they stand in the first two levels of a log object. */
const secretKeys = ["privateKey", "key", "token", "authorization", "csr", "chain", "pem"];

export function createLog(sink: LineSink, options: LogOptions): Logger {
  const stream = options.format === "json" ? sink : { write: (line: string) => sink.write(textLine(line)) };
  return pino(
    {
      level: options.level,
      base: null,
      messageKey: "message",
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      errorKey: "error",
      redact: { paths: secretKeys.flatMap((key) => [key, `*.${key}`]), censor: "[redacted]" },
    },
    stream,
  );
}

/** pino's JSON line as key=value text. */
function textLine(line: string): string {
  const { time, level, scope, message, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = fieldsText(Object.entries(rest).flatMap(([key, value]) => flat(key, value)));
  const head = `${word(time)} ${word(level).padEnd(5)} ${word(scope) || "agent"}`;
  // A line break in a message must not look like the start of another line.
  return `${[head, word(message).replaceAll("\n", "\\n"), fields].filter((part) => part !== "").join(" ")}\n`;
}

function word(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function flat(key: string, value: unknown): (readonly [string, FieldValue])[] {
  if (value === null || value === undefined) return [];
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return [[key, value]];
  if (key === "error" && typeof value === "object" && "message" in value) {
    const { message, code } = value as { message?: unknown; code?: unknown };
    return [
      ["error", String(message)],
      ["code", typeof code === "string" ? code : undefined],
    ];
  }
  return [[key, JSON.stringify(value)]];
}
