/**
 * Carries bytes between the two ends of a flow, each direction on its own: back pressure by pausing the reader, an end on one
 * side is an end on the other while the reverse direction goes on, a broken side breaks the other.
 */
import type { Duplex } from "node:stream";
import { worthWatching } from "./backlog.ts";
import type { Leg } from "./leg.ts";

/** `near` is the end that the flow arrived on, `far` the one that was opened for it. */
export type RelayEnd =
  | { readonly kind: "clean" }
  | { readonly kind: "broken"; readonly side: "near" | "far"; readonly detail: string };

export interface RelayOptions {
  /** Bytes that may wait in front of a slow writer, per direction. */
  readonly buffer: number;
}

export class Relay {
  readonly #near: Leg;
  readonly #far: Leg;
  readonly #onEnd: (end: RelayEnd) => void;
  readonly #sent: Direction;
  readonly #received: Direction;
  #over = false;

  constructor(
    deps: { near: Leg; far: Leg; onEnd: (end: RelayEnd) => void; onBacklog: () => void },
    options: RelayOptions,
  ) {
    this.#near = deps.near;
    this.#far = deps.far;
    this.#onEnd = deps.onEnd;
    this.#sent = pump(deps.near.duplex, deps.far.duplex, options.buffer, deps.onBacklog);
    this.#received = pump(deps.far.duplex, deps.near.duplex, options.buffer, deps.onBacklog);
    this.#watch("near", deps.near, deps.far);
    this.#watch("far", deps.far, deps.near);
  }

  get bytesSent(): number {
    return this.#sent.bytes;
  }

  get bytesReceived(): number {
    return this.#received.bytes;
  }

  /** True once one direction has ended and the other has not. */
  get halfClosed(): boolean {
    return this.#sent.ended !== this.#received.ended;
  }

  /** Bytes that wait in either direction. */
  get buffered(): number {
    const near = this.#near.duplex;
    const far = this.#far.duplex;
    return near.readableLength + near.writableLength + far.readableLength + far.writableLength;
  }

  /** Breaks both ends; `onEnd` is not called. */
  abort(): void {
    this.#over = true;
    this.#near.reset();
    this.#far.reset();
  }

  #watch(side: "near" | "far", leg: Leg, other: Leg): void {
    const closed = () => {
      if (this.#over) return;
      if (!leg.closedCleanly()) {
        this.#finish({ kind: "broken", side, detail: leg.detail() });
        other.reset();
      } else if (other.closed) {
        this.#finish({ kind: "clean" });
      } else if (!other.duplex.readableEnded) {
        // This end takes no more bytes although the other would send some: RST_STREAM with NO_ERROR after END_STREAM.
        other.leave();
      }
    };
    if (leg.closed) process.nextTick(closed);
    else leg.duplex.once("close", closed);
  }

  #finish(end: RelayEnd): void {
    this.#over = true;
    this.#onEnd(end);
  }
}

interface Direction {
  bytes: number;
  ended: boolean;
}

function pump(from: Duplex, to: Duplex, buffer: number, onBacklog: () => void): Direction {
  const direction: Direction = { bytes: 0, ended: false };
  from.on("data", (chunk: Buffer) => {
    // A stream that its peer closed without an error takes nothing more; the reader is told when the stream is gone.
    if (to.writableEnded) return;
    direction.bytes += chunk.length;
    if (!to.write(chunk) && to.writableLength >= buffer) from.pause();
    if (to.writableLength >= worthWatching) onBacklog();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => {
    direction.ended = true;
    to.end();
  });
  // Accepted sockets arrive paused.
  from.resume();
  return direction;
}
