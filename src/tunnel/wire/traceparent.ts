/** `traceparent` (W3C Trace Context §3.2): one trace per application connection, so that what both agents tell of it can be joined. */
import { randomBytes } from "node:crypto";
import { formatTraceparent, parseTraceparent } from "../../lib/traceparent.ts";

/** A fresh one. */
export function newTraceparent(flag: "sampled" | "unsampled"): string {
  const text = randomBytes(24).toString("hex");
  return formatTraceparent({ traceId: text.slice(0, 32), spanId: text.slice(32), sampled: flag === "sampled" });
}

/** True for a value of version 00 with ids that are not all zero. */
export function isTraceparent(text: string): boolean {
  return parseTraceparent(text) !== undefined;
}
