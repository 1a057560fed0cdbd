/**
 * The three things that this engine needs of Node's sockets and that Node does not document. They are kept here alone, typed,
 * and fail closed: if a Node release changes one, the engine refuses connections instead of trusting them, and its tests say so.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { MeshError } from "../../lib/errors.ts";

interface SocketHandle {
  readonly fd?: unknown;
  readonly verifyError?: () => Error | null;
}

function handleOf(socket: Socket): SocketHandle | undefined {
  return (socket as unknown as { readonly _handle?: SocketHandle | null })._handle ?? undefined;
}

/** The descriptor of an open socket, for getsockopt and map look-ups by the capture addon; undefined once it is closed. */
export function descriptorOf(socket: Socket): number | undefined {
  const fd = handleOf(socket)?.fd;
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}

/**
 * OpenSSL's verdict on the peer of a server-side TLSSocket after `secure`: undefined if the chain is good. `tls.Server` reads
 * the same; a TLSSocket made by hand is not checked by anybody else.
 */
export function chainVerdict(socket: TLSSocket): Error | undefined {
  const handle = handleOf(socket);
  if (handle?.verifyError === undefined) {
    return new MeshError(
      "MESH_UNVERIFIABLE",
      "this Node version does not tell whether a peer's certificate chain is good",
    );
  }
  return handle.verifyError() ?? undefined;
}

/** Tells node:http2 that the handshake is over; `tls.Server` sets this for the sockets that it makes. */
export function markSecured(socket: TLSSocket): void {
  (socket as unknown as { secureConnecting: boolean }).secureConnecting = false;
}
