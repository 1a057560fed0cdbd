/** node:http2 session options for tunnels. Windows and limits are the caller's; what is fixed here is Node's own bookkeeping. */
import type { Http2Session, SecureClientSessionOptions, ServerSessionOptions, Settings } from "node:http2";
import type { EngineLimits } from "../engine.ts";

/**
 * nghttp2 ends a session whose peer resets streams too fast, against the "rapid reset" attack on servers that work before
 * they answer. Here each reset is an application's own broken connection, made by a peer that has proven who it is, and the
 * default of 33 a second would cut every other flow of a busy tunnel.
 */
const resetsAllowed = { streamResetBurst: 10_000, streamResetRate: 1_000 };

function common(limits: EngineLimits) {
  return {
    // Beyond it Node refuses new streams of the session; in MiB. A tunnel may not hold more than the whole process.
    maxSessionMemory: Math.max(16, Math.ceil(limits.memory / 2 ** 20)),
    ...resetsAllowed,
  };
}

function settings(limits: EngineLimits): Settings {
  return {
    initialWindowSize: streamWindow(limits, "full"),
    maxFrameSize: limits.frameSize,
    maxHeaderListSize: limits.headerListSize,
  };
}

/** How much the peer may send on a stream whose reader stands still: less while too much waits already. */
export type StreamWindow = "full" | "narrow";

/** A sixteenth still keeps a fast reader busy in a cluster: 256 KiB are 2 Gbit/s at 1 ms. */
export function streamWindow(limits: EngineLimits, width: StreamWindow): number {
  if (width === "full") return limits.streamWindow;
  return Math.min(limits.streamWindow, Math.max(64 * 1024, Math.floor(limits.streamWindow / 16)));
}

export function clientSessionOptions(limits: EngineLimits): SecureClientSessionOptions {
  return { ...common(limits), settings: { ...settings(limits), enablePush: false } };
}

export function serverSessionOptions(limits: EngineLimits): ServerSessionOptions {
  return {
    ...common(limits),
    settings: { ...settings(limits), maxConcurrentStreams: limits.streamsPerInboundTunnel },
  };
}

/** The connection's own window is no setting: it grows by WINDOW_UPDATE (RFC 9113 §6.9.2). */
export function widenConnection(session: Http2Session, limits: EngineLimits): void {
  session.setLocalWindowSize(limits.connectionWindow);
}
