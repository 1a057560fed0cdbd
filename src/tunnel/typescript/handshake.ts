/**
 * TLS 1.3 on an existing TCP connection, both roles, mutual always: ends with a peer that has proven who it is, or with a reason.
 * No SNI is sent and none is read: the pod whose listener accepted decides which certificate is shown.
 */
import type { Socket } from "node:net";
import { connect, TLSSocket } from "node:tls";
import { messageOf } from "../../lib/errors.ts";
import type { Identity } from "../../model/identity.ts";
import type { Reason } from "../../model/reason.ts";
import type { UsableCredential } from "./credential.ts";
import { chainVerdict, markSecured } from "./node-internals.ts";
import { judgePeer, type PeerProof, type TrustRules } from "./peer-proof.ts";

const alpn = ["h2"];

export type HandshakeResult =
  | { readonly kind: "secured"; readonly socket: TLSSocket; readonly proof: PeerProof }
  | { readonly kind: "failed"; readonly reason: Reason; readonly detail: string };

export interface HandshakeOptions {
  readonly timeoutMs: number;
  /** Asked when the peer has shown its certificate: what has been revoked during the handshake counts. */
  readonly rules: () => TrustRules;
}

/** `done` is called once, unless the returned function gave up before. On failure the socket is destroyed. */
export function secureServer(
  raw: Socket,
  credential: UsableCredential,
  options: HandshakeOptions,
  done: (result: HandshakeResult) => void,
): () => void {
  const socket = new TLSSocket(raw, {
    isServer: true,
    secureContext: credential.context,
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: alpn,
  });
  return settle(socket, "secure", options, done, () => {
    const verdict = chainVerdict(socket);
    if (verdict !== undefined) return failed("tls-failed", describe(verdict));
    // A client without ALPN is taken at its word that it speaks HTTP/2, as other HBONE servers do; another protocol was refused.
    const peer = judgePeer(socket, options.rules(), undefined);
    if (peer.kind === "refused") return failed(peer.reason, peer.detail);
    markSecured(socket);
    return { kind: "secured", socket, proof: peer.proof };
  });
}

/** As `secureServer`, for a connection that was dialled to a peer that must be one of `expected`. */
export function secureClient(
  raw: Socket,
  credential: UsableCredential,
  expected: ReadonlySet<Identity>,
  options: HandshakeOptions,
  done: (result: HandshakeResult) => void,
): () => void {
  const socket = connect({
    socket: raw,
    secureContext: credential.context,
    rejectUnauthorized: true,
    ALPNProtocols: alpn,
    // Host names prove nothing here: the SPIFFE id is compared before the first byte is sent, below.
    checkServerIdentity: () => undefined,
  });
  return settle(socket, "secureConnect", options, done, () => {
    if (!socket.authorized) return failed("tls-failed", String(socket.authorizationError));
    if (socket.alpnProtocol !== "h2") return failed("h2-failed", "the peer does not offer HTTP/2");
    const peer = judgePeer(socket, options.rules(), expected);
    if (peer.kind === "refused") return failed(peer.reason, peer.detail);
    return { kind: "secured", socket, proof: peer.proof };
  });
}

function settle(
  socket: TLSSocket,
  secured: "secure" | "secureConnect",
  options: HandshakeOptions,
  done: (result: HandshakeResult) => void,
  judge: () => HandshakeResult,
): () => void {
  let settled = false;
  let error: Error | undefined;
  const finish = (result: HandshakeResult) => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    if (result.kind === "failed") socket.destroy();
    done(result);
  };
  const timer = setTimeout(() => {
    finish(failed("tls-timeout", `no TLS handshake within ${options.timeoutMs} ms`));
  }, options.timeoutMs);
  // The listener stays for the life of the connection; after the handshake the HTTP/2 session reports the same error.
  socket.on("error", (thrown) => {
    error = thrown;
    finish(failed("tls-failed", describe(thrown)));
  });
  socket.once("close", () => {
    finish(failed("tls-failed", error === undefined ? "the peer closed during the TLS handshake" : describe(error)));
  });
  socket.once(secured, () => {
    try {
      finish(judge());
    } catch (thrown) {
      // A certificate that OpenSSL reads and we do not: peer data, and no reason to trust it.
      finish(failed("tls-failed", messageOf(thrown)));
    }
  });
  return () => {
    settled = true;
    clearTimeout(timer);
    socket.destroy();
  };
}

function failed(reason: Reason, detail: string): HandshakeResult {
  return { kind: "failed", reason, detail };
}

/** OpenSSL's reason if there is one, else the code that Node gives to a failed verification. */
export function describe(error: Error & { readonly code?: unknown; readonly reason?: unknown }): string {
  if (typeof error.reason === "string") return error.reason;
  return typeof error.code === "string" ? `${error.code}: ${error.message}` : error.message;
}
