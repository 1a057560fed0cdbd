/** What opening a tunnel has in common for both directions: its record while nothing is proven, and the last step, HTTP/2. */
import type { Http2Session } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { SocketAddress } from "../../model/address.ts";
import type { Reason } from "../../model/reason.ts";
import type { GroupHandle, TunnelId, TunnelInfo } from "../engine.ts";
import type { EngineContext } from "./context.ts";
import { describe } from "./handshake.ts";
import type { Pod } from "./pod.ts";

export interface Failure {
  readonly reason: Reason;
  readonly detail: string;
}

export interface Attempt {
  readonly id: TunnelId;
  readonly pod: Pod;
  readonly group: GroupHandle | 0;
  readonly peerAddress: SocketAddress;
  readonly startedAt: number;
}

/** Tells the world of a tunnel that never came up. */
export function reportFailure(context: EngineContext, attempt: Attempt, failure: Failure): void {
  const info: TunnelInfo = {
    tunnel: attempt.id,
    direction: attempt.group === 0 ? "inbound" : "outbound",
    pod: attempt.pod.handle,
    group: attempt.group,
    peerAddress: attempt.peerAddress,
    peer: "",
    tls: { version: "", group: "", cipher: "" },
    setupMs: performance.now() - attempt.startedAt,
  };
  context.batch.deliver((events) => events.tunnelDown({ ...info, ...failure }));
}

/**
 * HTTP/2 is ready when the peer's SETTINGS are known: only then is its stream limit. `done` is called once, with undefined if it
 * is ready; the session's errors are heard as long as it lives.
 */
export function awaitSettings(
  session: Http2Session,
  socket: TLSSocket,
  timeoutMs: number,
  done: (failure: Failure | undefined) => void,
): () => void {
  let settled = false;
  let error: (Error & { code?: unknown }) | undefined;
  const finish = (failure: Failure | undefined) => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    if (failure !== undefined) socket.destroy();
    done(failure);
  };
  const timer = setTimeout(
    () => finish({ reason: "h2-failed", detail: `no HTTP/2 SETTINGS within ${timeoutMs} ms` }),
    timeoutMs,
  );
  session.once("remoteSettings", () => finish(undefined));
  session.on("error", (thrown) => {
    error ??= thrown;
  });
  // After the socket's own `close`, and after the error if there is one.
  session.once("close", () => finish(closedEarly(error)));
  return () => {
    settled = true;
    clearTimeout(timer);
    socket.destroy();
  };
}

/**
 * In TLS 1.3 the client is done before the server has judged its certificate, so a refusal comes as an alert or, from peers that
 * verify after the handshake, as a plain close while the client waits for SETTINGS.
 */
function closedEarly(error: (Error & { code?: unknown }) | undefined): Failure {
  if (error === undefined) {
    return { reason: "tls-failed", detail: "closed before HTTP/2 SETTINGS; did the peer refuse our certificate?" };
  }
  const fromTls = typeof error.code === "string" && error.code.startsWith("ERR_SSL");
  return { reason: fromTls || error.code === "ECONNRESET" ? "tls-failed" : "h2-failed", detail: describe(error) };
}
