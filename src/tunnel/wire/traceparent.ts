/** `traceparent` (W3C Trace Context §3.2): one trace per application connection, so that both agents' logs can be joined. */
import { randomBytes } from "node:crypto";

const form = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** A fresh one, not sampled: spans are not exported. */
export function newTraceparent(): string {
  const text = randomBytes(24).toString("hex");
  return `00-${text.slice(0, 32)}-${text.slice(32)}-00`;
}

/** True for a value of version 00 with ids that are not all zero. */
export function isTraceparent(text: string): boolean {
  return form.test(text);
}
