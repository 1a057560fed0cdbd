/**
 * Header values that a peer sent and that end up in logs, metrics or later decisions: peer data, checked here once. A value that
 * is too long or holds anything but visible ASCII and spaces counts as absent; the flow goes on, because none of these is authority.
 */
import type { IncomingHttpHeaders } from "node:http2";

/** W3C Baggage §3.3.2 asks propagators for 8192 bytes; nothing of ours needs more. */
const longestValue = 8192;
const visible = /^[\x20-\x7e]*$/;

/** The value of a header field, repeated fields joined as RFC 9110 §5.3 says; empty when absent or not acceptable. */
export function headerText(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  const text = Array.isArray(value) ? value.join(", ") : (value ?? "");
  return isHeaderText(text) ? text.trim() : "";
}

/** True for a text that can be sent as, or believed to be, a header value. */
export function isHeaderText(text: string): boolean {
  return text.length <= longestValue && visible.test(text);
}
