/**
 * A handed-over flow's plaintext: TypeScript's end of a socket pair whose other end a worker relays. The worker counts the bytes and
 * sees the ends; what a socket pair cannot say, the reason of a broken flow, goes beside it.
 */
import { Socket } from "node:net";
import type { Reason } from "../../model/reason.ts";
import { FlowEnd } from "../engine.ts";

export class PlaintextSocket extends Socket {
  readonly #onLeave: (reason: Reason, finished: boolean) => void;
  #over = false;

  constructor(deps: { fd: number; onLeave: (reason: Reason, finished: boolean) => void }) {
    super({ fd: deps.fd, readable: true, writable: true, allowHalfOpen: true });
    this.#onLeave = deps.onLeave;
    // The reader of the duplex may leave before the flow breaks; the flow's record tells of the error anyway.
    this.on("error", () => {});
  }

  /** The flow ended on the other side. */
  flowEnded(reason: Reason): void {
    this.#over = true;
    if (reason !== "ok") this.destroy(new FlowEnd(reason));
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#over) {
      this.#over = true;
      const complete = this.readableEnded && this.writableFinished;
      if (error instanceof FlowEnd) this.#onLeave(error.reason, this.writableFinished);
      else if (!complete) this.#onLeave("reset-by-destination", this.writableFinished);
    }
    super._destroy(error, done);
  }
}
