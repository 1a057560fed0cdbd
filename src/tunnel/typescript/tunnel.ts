/**
 * One open tunnel, either direction: an HTTP/2 session over TLS with a proven peer, the flows on it, and the ways it ends:
 * drained (GOAWAY, flows end in their own time), lost, or cut with a reason that its flows share.
 */
import { constants, type Http2Session } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { SocketAddress } from "../../model/address.ts";
import type { Reason } from "../../model/reason.ts";
import type { GroupHandle, TunnelId, TunnelInfo } from "../engine.ts";
import type { EngineContext } from "./context.ts";
import type { Credential } from "./credential.ts";
import { type StreamWindow, streamWindow } from "./http2-options.ts";
import { Keepalive } from "./keepalive.ts";
import { errorName } from "./leg.ts";
import type { PeerProof } from "./peer-proof.ts";
import type { Pod } from "./pod.ts";
import { tlsFacts } from "./tls-facts.ts";

/** Highest stream id of RFC 9113 §5.1.1: a GOAWAY with it announces the end and refuses nothing yet (§6.8). */
const lastStreamId = 2 ** 31 - 1;
/** How long the other side may take to close its half of a finished connection. */
const closingMs = 1000;

/** A flow as its tunnel sees it. */
export interface TunnelFlow {
  end(reason: Reason, detail: string): void;
}

export interface TunnelParts {
  readonly id: TunnelId;
  readonly pod: Pod;
  readonly group: GroupHandle | 0;
  readonly credential: Credential;
  readonly peerAddress: SocketAddress;
  readonly proof: PeerProof;
  readonly socket: TLSSocket;
  readonly session: Http2Session;
  readonly startedAt: number;
}

export interface TunnelWatcher {
  /** A stream slot is free, or the tunnel takes no more streams. */
  changed(tunnel: Tunnel): void;
  /** Every descriptor of the tunnel is closed. */
  gone(tunnel: Tunnel): void;
}

export class Tunnel {
  readonly id: TunnelId;
  readonly pod: Pod;
  readonly credential: Credential;
  readonly proof: PeerProof;
  readonly session: Http2Session;
  readonly flows = new Set<TunnelFlow>();
  readonly openedAt = Date.now();
  readonly info: TunnelInfo;
  readonly #context: EngineContext;
  readonly #watcher: TunnelWatcher;
  readonly #socket: TLSSocket;
  readonly #keepalive: Keepalive;
  #streams = 0;
  #draining = false;
  #end: { readonly reason: Reason; readonly detail: string } | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #closingTimer: NodeJS.Timeout | undefined;

  constructor(context: EngineContext, parts: TunnelParts, watcher: TunnelWatcher) {
    this.#context = context;
    this.#watcher = watcher;
    this.id = parts.id;
    this.pod = parts.pod;
    this.credential = parts.credential;
    this.proof = parts.proof;
    this.session = parts.session;
    this.#socket = parts.socket;
    this.info = {
      tunnel: parts.id,
      direction: parts.group === 0 ? "inbound" : "outbound",
      pod: parts.pod.handle,
      group: parts.group,
      peerAddress: parts.peerAddress,
      peer: parts.proof.identity,
      tls: tlsFacts(parts.socket),
      setupMs: performance.now() - parts.startedAt,
    };
    const { timeouts } = context.options;
    // For the time after a GOAWAY, when Node sends no PINGs.
    parts.socket.setKeepAlive(true, timeouts.pingInterval);
    this.#keepalive = new Keepalive(
      { session: parts.session, onDead: () => this.cut("tunnel-lost", "no answer to PING") },
      { intervalMs: timeouts.pingInterval, timeoutMs: timeouts.pingTimeout },
    );
    parts.session.on("goaway", (code) => this.#goawayReceived(code));
    parts.session.on("error", (error) => this.#over("tunnel-lost", error.message));
    // Before the session hears of it and closes its streams: flows must know that the tunnel broke and not their peer.
    parts.socket.prependOnceListener("error", (error) => this.#over("tunnel-lost", error.message));
    parts.socket.prependOnceListener("close", () => this.#over("tunnel-lost", "the connection closed"));
    parts.session.once("close", () => this.#closed());
    // The peer's stream limit may have grown.
    parts.session.on("remoteSettings", () => this.#watcher.changed(this));
    this.#watchIdle();
  }

  get streams(): number {
    return this.#streams;
  }

  /** False once a GOAWAY was sent or received: flows go on, new ones go elsewhere. */
  get takesStreams(): boolean {
    return !this.#draining && !this.session.closed && !this.session.destroyed;
  }

  /** Why the tunnel ends, once it does: its streams' own errors then mean nothing. */
  get ending(): { readonly reason: Reason; readonly detail: string } | undefined {
    // Node closes the streams of a broken session before it tells anybody about the session.
    return this.#end ?? (this.session.destroyed ? { reason: "tunnel-lost", detail: "" } : undefined);
  }

  /** Another window for all streams (RFC 9113 §6.9.2); false if it cannot be told now. */
  setWindow(width: StreamWindow): boolean {
    const { session } = this;
    if (session.destroyed || session.closed || session.pendingSettingsAck) return false;
    session.settings({ initialWindowSize: streamWindow(this.#context.options.limits, width) });
    return true;
  }

  /** Counts a stream, opened or about to be; undone by `releaseStream`. */
  holdStream(): void {
    this.#streams += 1;
    clearTimeout(this.#idleTimer);
  }

  releaseStream(): void {
    this.#streams -= 1;
    if (this.#streams === 0) {
      if (this.#draining) this.#finish();
      else if (this.#end === undefined) this.#watchIdle();
    }
    this.#watcher.changed(this);
  }

  /** Graceful: no new streams, the tunnel closes with its last flow. */
  drain(): void {
    if (this.#draining || this.#end !== undefined) return;
    this.#draining = true;
    if (!this.session.closed && !this.session.destroyed) this.#announceEnd();
    if (this.#streams === 0) this.#finish();
    this.#watcher.changed(this);
  }

  /** Abrupt: every flow on it ends with the reason. */
  cut(reason: Reason, detail: string): void {
    this.#over(reason, detail);
    this.session.destroy();
    this.#socket.destroy();
  }

  /** RFC 9113 §6.8: a first GOAWAY as a warning, the real one when requests in flight have had a round trip to arrive. */
  #announceEnd(): void {
    if (this.info.direction === "outbound") {
      this.session.goaway(constants.NGHTTP2_NO_ERROR);
      return;
    }
    this.session.goaway(constants.NGHTTP2_NO_ERROR, lastStreamId);
    this.session.ping(() => {
      if (!this.session.destroyed && !this.session.closed) this.session.goaway(constants.NGHTTP2_NO_ERROR);
    });
  }

  #goawayReceived(code: number): void {
    // With an error code Node destroys the session next.
    if (code !== constants.NGHTTP2_NO_ERROR) {
      this.#over("tunnel-lost", `GOAWAY ${errorName(code)}`);
      return;
    }
    this.#draining = true;
    if (this.#streams === 0) this.#finish();
    this.#watcher.changed(this);
  }

  /** The last flow of a draining tunnel has ended. */
  #finish(): void {
    this.#end ??= { reason: "ok", detail: "" };
    this.session.close();
    this.#closingTimer ??= setTimeout(() => this.#socket.destroy(), closingMs);
  }

  #over(reason: Reason, detail: string): void {
    if (this.#end !== undefined && this.flows.size === 0) return;
    this.#end ??= { reason, detail };
    this.#keepalive.stop();
    for (const flow of this.flows) flow.end(this.#end.reason, this.#end.detail);
    this.#watcher.changed(this);
  }

  #closed(): void {
    clearTimeout(this.#idleTimer);
    clearTimeout(this.#closingTimer);
    this.#over("tunnel-lost", "");
    this.#keepalive.stop();
    const end = this.#end ?? { reason: "tunnel-lost", detail: "" };
    this.#context.batch.deliver((events) => events.tunnelDown({ ...this.info, ...end }));
    this.#watcher.gone(this);
  }

  #watchIdle(): void {
    const { timeouts, limits } = this.#context.options;
    // A pod that goes through all others must not hold a tunnel to each.
    const crowded =
      this.info.direction === "outbound" && this.pod.outboundTunnels > Math.floor(limits.outboundTunnelsPerPod / 2);
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => this.drain(), crowded ? 0 : timeouts.tunnelIdle);
  }
}
