/** Opens TCP connections from inside a pod's netns, with a bounded wait. */
import { closeSync } from "node:fs";
import { Socket, type SocketConstructorOpts } from "node:net";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { ipFamily } from "../../lib/ip.ts";
import type { SocketAddress } from "../../model/address.ts";
import type { Reason } from "../../model/reason.ts";
import type { SocketOps, SocketRequest } from "../../model/sockets.ts";
import { SocketLeg } from "./leg.ts";

export interface DialRequest {
  readonly netns: number;
  readonly purpose: "leave" | "deliver";
  readonly mark: number;
  readonly destination: SocketAddress;
  /** Bind to this address; absent for the netns's own. */
  readonly sourceAddress: string | undefined;
  readonly timeoutMs: number;
  /** A half-closed application connection goes on; a tunnel's does not. */
  readonly allowHalfOpen: boolean;
  readonly highWaterMark: number;
  /** Whether a descriptor of this number may be kept; every one may if absent. */
  readonly mayKeep?: (fd: number) => boolean;
}

export type DialResult =
  | { readonly kind: "connected"; readonly leg: SocketLeg }
  | { readonly kind: "failed"; readonly reason: Reason; readonly detail: string };

/** `done` is called once and never before this returns, unless the returned function gave up before. */
export function dial(sockets: SocketOps, request: DialRequest, done: (result: DialResult) => void): () => void {
  const { destination } = request;
  let socket: Socket;
  try {
    socket = openSocket(sockets, request);
  } catch (error) {
    const failure = { kind: "failed", reason: reasonOf(error), detail: messageOf(error) } as const;
    const soon = setImmediate(() => done(failure));
    return () => clearImmediate(soon);
  }
  const leg = new SocketLeg(socket);
  let settled = false;
  const finish = (result: DialResult) => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    if (result.kind === "failed") socket.destroy();
    done(result);
  };
  const timer = setTimeout(
    () => finish({ kind: "failed", reason: "connect-timeout", detail: `no answer within ${request.timeoutMs} ms` }),
    request.timeoutMs,
  );
  socket.once("connect", () => {
    socket.setNoDelay(true);
    finish({ kind: "connected", leg });
  });
  socket.once("close", () => {
    const detail = leg.detail();
    finish({ kind: "failed", reason: detail === "ETIMEDOUT" ? "connect-timeout" : "connect-failed", detail });
  });
  socket.connect({ host: destination.address, port: destination.port });
  return () => {
    settled = true;
    clearTimeout(timer);
    socket.destroy();
  };
}

function openSocket(sockets: SocketOps, request: DialRequest): Socket {
  const { purpose, mark, destination, sourceAddress } = request;
  const socketRequest: SocketRequest = {
    purpose,
    family: ipFamily(destination.address),
    mark,
    ...(sourceAddress === undefined ? {} : { sourceAddress }),
  };
  const fd = sockets.openSocket(request.netns, socketRequest);
  if (request.mayKeep?.(fd) === false) {
    closeSync(fd);
    throw new MeshError("MESH_DESCRIPTOR_SHARE", "EMFILE: the pod has more than its share of descriptors");
  }
  const options: SocketConstructorOpts & { manualStart: boolean; highWaterMark: number } = {
    fd,
    allowHalfOpen: request.allowHalfOpen,
    highWaterMark: request.highWaterMark,
    // Without it Node starts reading at once, which fails on a socket that is not connected yet.
    manualStart: true,
  };
  return new Socket(options);
}

function reasonOf(error: unknown): Reason {
  return /\b(?:EMFILE|ENFILE)\b/.test(messageOf(error)) ? "out-of-descriptors" : "connect-failed";
}
