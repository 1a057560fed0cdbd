/** Asks a peer for a flow: one CONNECT on a tunnel that has a slot for it, answered within a bounded time. */
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import { constants } from "node:http2";
import type { SocketAddress } from "../../model/address.ts";
import type { Reason } from "../../model/reason.ts";
import { formatForwarded } from "../wire/forwarded.ts";
import { describeRefusal, isRetryable, readRefusal } from "../wire/refusal.ts";
import { errorName, resetStream, StreamLeg } from "./leg.ts";
import type { Tunnel } from "./tunnel.ts";

export interface ConnectRequest {
  readonly authority: string;
  readonly source: SocketAddress;
  readonly forwardedHost: string;
  readonly baggage: string;
  readonly traceparent: string;
}

/**
 * `elsewhere`: another endpoint may do better. `again`: the tunnel was at its end before the peer saw the request, so another
 * tunnel to the same peer may.
 */
export type ConnectResult =
  | { readonly kind: "open"; readonly leg: StreamLeg }
  | {
      readonly kind: "failed";
      readonly reason: Reason;
      readonly detail: string;
      readonly retry: "again" | "elsewhere" | "never";
    };

/** The part of a tunnel that a request needs. */
export type RequestTunnel = Pick<Tunnel, "session" | "ending" | "takesStreams" | "drain" | "releaseStream">;

/** Takes over the slot that the caller holds on the tunnel. `done` is called once, later, unless the returned function gave up. */
export function openConnect(
  tunnel: RequestTunnel,
  request: ConnectRequest,
  timeoutMs: number,
  done: (result: ConnectResult) => void,
): () => void {
  const stream: ClientHttp2Stream = (tunnel.session as ClientHttp2Session).request(headersOf(request), {
    endStream: false,
  });
  const leg = new StreamLeg(stream);
  let settled = false;
  const finish = (result: ConnectResult) => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    done(result);
  };
  const timer = setTimeout(() => {
    resetStream(stream, constants.NGHTTP2_CANCEL);
    finish({
      kind: "failed",
      reason: "connect-unanswered",
      detail: `no answer to CONNECT within ${timeoutMs} ms`,
      retry: "elsewhere",
    });
  }, timeoutMs);
  stream.once("response", (headers: IncomingHttpHeaders) => {
    const refusal = readRefusal(headers);
    if (refusal === undefined) {
      finish({ kind: "open", leg });
      return;
    }
    resetStream(stream, constants.NGHTTP2_CANCEL);
    finish({
      kind: "failed",
      reason: "peer-refused",
      detail: describeRefusal(refusal),
      retry: isRetryable(refusal) ? "elsewhere" : "never",
    });
  });
  stream.once("close", () => {
    finish(lost(tunnel, leg));
    tunnel.releaseStream();
  });
  return () => {
    settled = true;
    clearTimeout(timer);
    resetStream(stream, constants.NGHTTP2_CANCEL);
  };
}

function headersOf(request: ConnectRequest): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {
    ":method": "CONNECT",
    ":authority": request.authority,
    forwarded: formatForwarded(request.source, request.forwardedHost),
    traceparent: request.traceparent,
  };
  if (request.baggage !== "") headers["baggage"] = request.baggage;
  return headers;
}

/** The stream closed without an answer. */
function lost(tunnel: RequestTunnel, leg: StreamLeg): ConnectResult {
  const code = leg.duplex.rstCode ?? constants.NGHTTP2_NO_ERROR;
  // RFC 9113 §5.1.1: stream ids are not reused; a connection that has none left must be replaced.
  if (leg.errorCode === "ERR_HTTP2_OUT_OF_STREAMS") tunnel.drain();
  if (tunnel.ending !== undefined || tunnel.session.destroyed || !tunnel.takesStreams) {
    return { kind: "failed", ...(tunnel.ending ?? { reason: "tunnel-lost", detail: leg.detail() }), retry: "again" };
  }
  return {
    kind: "failed",
    reason: "peer-refused",
    detail: `RST_STREAM ${errorName(code)}`,
    // RFC 9113 §8.7: a refused stream was not processed at all.
    retry: code === constants.NGHTTP2_REFUSED_STREAM ? "again" : "elsewhere",
  };
}
