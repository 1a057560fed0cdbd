/** A CONNECT that arrived on 15008: checked as far as the wire goes, and the two ways of answering it. */
import {
  constants,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
  type ServerStreamResponseOptions,
} from "node:http2";
import type { Reason } from "../../model/reason.ts";
import { type Authority, parseAuthority } from "../wire/authority.ts";
import { headerText } from "../wire/header-text.ts";
import { refusalHeaders } from "../wire/refusal.ts";
import { isTraceparent } from "../wire/traceparent.ts";
import type { Arrival } from "./flow.ts";
import { resetStream, StreamLeg } from "./leg.ts";
import type { Pod } from "./pod.ts";
import type { Tunnel } from "./tunnel.ts";

export interface ConnectText {
  /** As sent. */
  readonly authority: string;
  readonly baggage: string;
  readonly forwarded: string;
  readonly traceparent: string;
}

export type ConnectCheck =
  | { readonly kind: "connect"; readonly authority: Authority; readonly text: ConnectText }
  | { readonly kind: "refused"; readonly reason: Reason };

/** Method and authority; an address must be the pod's own, a host name is for TypeScript to judge. */
export function checkConnect(headers: IncomingHttpHeaders, pod: Pod): ConnectCheck {
  if (headers[":method"] !== "CONNECT" || headers[":protocol"] !== undefined) {
    return { kind: "refused", reason: "not-connect" };
  }
  const sent = headers[":authority"] ?? "";
  const authority = parseAuthority(sent);
  if (authority === undefined) return { kind: "refused", reason: "bad-authority" };
  if (authority.kind === "address" && !pod.hasAddress(authority.address)) {
    return { kind: "refused", reason: "not-this-pod" };
  }
  return {
    kind: "connect",
    authority,
    text: {
      authority: sent,
      baggage: headerText(headers, "baggage"),
      forwarded: headerText(headers, "forwarded"),
      traceparent: receivedTraceparent(headers),
    },
  };
}

/** Empty for none, and for one that is not well formed. */
export function receivedTraceparent(headers: IncomingHttpHeaders): string {
  const text = headerText(headers, "traceparent");
  return isTraceparent(text) ? text : "";
}

/** Node adds a `date` that no HBONE peer reads. */
const answer: ServerStreamResponseOptions & { readonly sendDate: boolean } = { sendDate: false };
const refusal: ServerStreamResponseOptions & { readonly sendDate: boolean } = { sendDate: false, endStream: true };

export class ConnectArrival implements Arrival {
  readonly leg: StreamLeg;
  readonly tunnel: Tunnel;
  readonly #stream: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream, tunnel: Tunnel) {
    this.leg = new StreamLeg(stream);
    this.tunnel = tunnel;
    this.#stream = stream;
  }

  accept(baggage: string): void {
    if (this.#stream.destroyed || this.#stream.closed) return;
    this.#stream.respond(baggage === "" ? { ":status": 200 } : { ":status": 200, baggage }, answer);
  }

  refuse(reason: Reason): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    if (stream.headersSent) {
      resetStream(stream, constants.NGHTTP2_CONNECT_ERROR);
      return;
    }
    stream.respond(refusalHeaders(reason), refusal);
    // RFC 9113 §8.1: after a complete answer, NO_ERROR asks the client to stop sending what nobody will read.
    stream.close(constants.NGHTTP2_NO_ERROR);
  }
}
