/**
 * One end of a flow: an application's TCP socket or an HTTP/2 stream. What TCP calls a reset is RST_STREAM with CONNECT_ERROR in
 * HTTP/2 (RFC 9113 §8.5), and both directions of that translation happen here: a broken end is never shown as a clean one.
 */
import { constants, type Http2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

export interface Leg {
  readonly duplex: Duplex;
  /** True once the duplex emitted `close`: its resources are gone. */
  readonly closed: boolean;
  /** After `close`: true if each direction came to its regular end. */
  closedCleanly(): boolean;
  /** After an unclean `close`: what happened, in the system's words. */
  detail(): string;
  /** Ends both directions so that the other side sees a broken connection, not an end. */
  reset(): void;
  /** Ends what is still open without an error, after everything written so far. */
  leave(): void;
}

export class SocketLeg implements Leg {
  readonly duplex: Socket;
  #error: NodeJS.ErrnoException | undefined;
  #closed = false;

  constructor(socket: Socket) {
    this.duplex = socket.on("error", (error) => {
      this.#error = error;
    });
    socket.once("close", () => {
      this.#closed = true;
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  closedCleanly(): boolean {
    return this.#error === undefined && this.duplex.readableEnded && this.duplex.writableFinished;
  }

  detail(): string {
    return this.#error?.code ?? this.#error?.message ?? "";
  }

  reset(): void {
    resetSocket(this.duplex);
  }

  leave(): void {
    this.duplex.destroySoon();
  }
}

/** Closes a TCP socket with RST. */
export function resetSocket(socket: Socket): void {
  if (socket.destroyed) return;
  // libuv refuses to reset a socket in the middle of shutdown(2) and would leave it open; that takes one turn of the event loop.
  const shuttingDown = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (shuttingDown) socket.once("finish", () => resetSocket(socket));
  else socket.resetAndDestroy();
}

export class StreamLeg implements Leg {
  readonly duplex: Http2Stream;
  #error: NodeJS.ErrnoException | undefined;
  #closed = false;

  constructor(stream: Http2Stream) {
    this.duplex = stream.on("error", (error) => {
      this.#error = error;
    });
    stream.once("close", () => {
      this.#closed = true;
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  closedCleanly(): boolean {
    return this.#error === undefined && this.duplex.rstCode === constants.NGHTTP2_NO_ERROR && this.duplex.readableEnded;
  }

  /** Node's code for what went wrong on this side of the wire. */
  get errorCode(): string | undefined {
    return this.#error?.code;
  }

  detail(): string {
    const code = this.duplex.rstCode ?? constants.NGHTTP2_NO_ERROR;
    return code === constants.NGHTTP2_NO_ERROR ? (this.#error?.message ?? "") : `RST_STREAM ${errorName(code)}`;
  }

  reset(): void {
    resetStream(this.duplex, constants.NGHTTP2_CONNECT_ERROR);
  }

  leave(): void {
    this.duplex.close(constants.NGHTTP2_NO_ERROR);
  }
}

/** Sends RST_STREAM and no END_STREAM before it. */
export function resetStream(stream: Http2Stream, code: number): void {
  if (stream.destroyed || stream.closed) return;
  // `close` first ends the writable side, and Node then flushes an END_STREAM ahead of the RST_STREAM: the peer would see a clean
  // end of what is in truth cut off.
  stream._final = (callback) => callback();
  stream.close(code);
}

/** The name of an HTTP/2 error code, e.g. `CANCEL`. */
export function errorName(code: number): string {
  return errorNames.get(code) ?? String(code);
}

const errorNames: ReadonlyMap<number, string> = new Map(
  Object.entries(constants)
    .filter(
      ([name, value]) =>
        /^NGHTTP2_(?!ERR_|FLAG_|HCAT_|NV_|SESSION_|SETTINGS_|STREAM_STATE_|DEFAULT_)/.test(name) &&
        typeof value === "number",
    )
    .map(([name, value]) => [value as number, name.slice("NGHTTP2_".length)]),
);
