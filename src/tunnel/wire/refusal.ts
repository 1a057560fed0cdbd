/**
 * How a CONNECT is refused: HEADERS with END_STREAM, Istio's status (400, 401, 503), and the reason's code in
 * `x-warren-reason`, which peers that are not ours ignore.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import { isReason, type Reason, reasonInfo } from "../../model/reason.ts";
import { headerText } from "./header-text.ts";

export const reasonHeader = "x-warren-reason";

export function refusalHeaders(reason: Reason): OutgoingHttpHeaders {
  const { status } = reasonInfo(reason);
  // Reasons that describe an end (`ok`, a reset) have no refusing status of their own.
  return { ":status": status === 200 ? 503 : status, [reasonHeader]: reason };
}

export interface PeerRefusal {
  readonly status: number;
  /** The peer's own reason, if it is one of our codes. */
  readonly reason: Reason | undefined;
}

/** Reads the answer to a CONNECT; undefined if the peer accepted (RFC 9110 §9.3.6: any 2xx). */
export function readRefusal(headers: IncomingHttpHeaders): PeerRefusal | undefined {
  const status = Number(headers[":status"]);
  if (status >= 200 && status < 300) return undefined;
  const reason = headerText(headers, reasonHeader);
  return { status, reason: isReason(reason) ? reason : undefined };
}

/** `401 policy-denied`: what the source's log says about a peer's refusal. */
export function describeRefusal({ status, reason }: PeerRefusal): string {
  return reason === undefined ? String(status) : `${status} ${reason}`;
}

/** True if another endpoint may answer otherwise: 503 is a failure, 400 and 401 are judgements. */
export function isRetryable({ status }: PeerRefusal): boolean {
  return status >= 500;
}
