/**
 * A flow's plaintext for TypeScript to parse: a duplex over the end that the flow arrived on. Bytes are counted here, and the two
 * ways a flow ends meet here: the reader destroys the duplex, if it has a reason with a `FlowEnd`, or the flow breaks and the
 * reader is told by an error.
 */
import { Duplex } from "node:stream";
import type { Reason } from "../../model/reason.ts";
import { FlowEnd } from "../engine.ts";
import type { Leg } from "./leg.ts";

/** How long bytes that nobody reads are taken after the last answer was written: closing earlier resets it (RFC 9112 §9.6). */
const lingerMs = 1000;

export class HandedOver extends Duplex {
  readonly #leg: Leg;
  readonly #onEnd: (reason: Reason, detail: string) => void;
  #sent = 0;
  #received = 0;
  #over = false;

  constructor(deps: { leg: Leg; onEnd: (reason: Reason, detail: string) => void; onBacklog: () => void }) {
    super({ allowHalfOpen: true });
    this.#leg = deps.leg;
    this.#onEnd = deps.onEnd;
    const { duplex } = deps.leg;
    duplex.on("data", (chunk: Buffer) => {
      this.#sent += chunk.length;
      if (this.push(chunk)) return;
      duplex.pause();
      deps.onBacklog();
    });
    duplex.on("end", () => this.push(null));
    const closed = () => {
      if (this.#over) return;
      if (deps.leg.closedCleanly()) this.#finish("ok", "");
      else this.#break("reset-by-source", deps.leg.detail());
    };
    if (deps.leg.closed) process.nextTick(closed);
    else duplex.once("close", closed);
    // The reader of the duplex may leave before the flow breaks; the flow's record tells of the error anyway.
    this.on("error", () => {});
  }

  get bytesSent(): number {
    return this.#sent;
  }

  get bytesReceived(): number {
    return this.#received;
  }

  get buffered(): number {
    return (
      this.readableLength + this.writableLength + this.#leg.duplex.readableLength + this.#leg.duplex.writableLength
    );
  }

  /** True once one direction has ended and the other has not. */
  get halfClosed(): boolean {
    return this.#leg.duplex.readableEnded !== this.writableEnded;
  }

  /** Breaks the flow from outside; `onEnd` is not called. */
  abort(reason: Reason): void {
    this.#over = true;
    this.#leg.reset();
    this.destroy(new FlowEnd(reason));
  }

  override _read(): void {
    this.#leg.duplex.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#received += chunk.length;
    this.#leg.duplex.write(chunk, done);
  }

  /** A header section and the body behind it leave together. */
  override _writev(writes: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    const { duplex } = this.#leg;
    duplex.cork();
    for (const [index, { chunk }] of writes.entries()) {
      this.#received += chunk.length;
      if (index < writes.length - 1) duplex.write(chunk);
      else duplex.write(chunk, done);
    }
    duplex.uncork();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#leg.duplex.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#over) {
      const finished = this.readableEnded && this.writableFinished;
      if (error instanceof FlowEnd) this.#finish(error.reason, "");
      else if (finished) this.#finish("ok", "");
      else this.#finish("reset-by-destination", error?.message ?? "");
      if (this.writableFinished) this.#linger();
      else this.#leg.reset();
    }
    done(error);
  }

  #linger(): void {
    const { duplex } = this.#leg;
    if (duplex.readableEnded) return;
    const timer = setTimeout(() => this.#leg.leave(), lingerMs);
    duplex.once("close", () => clearTimeout(timer));
    duplex.removeAllListeners("data");
    duplex.resume();
  }

  #break(reason: Reason, detail: string): void {
    this.#finish(reason, detail);
    this.destroy(new FlowEnd(reason));
  }

  #finish(reason: Reason, detail: string): void {
    this.#over = true;
    this.#onEnd(reason, detail);
  }
}
