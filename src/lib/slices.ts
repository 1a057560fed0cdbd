/** Long work in pieces: whoever has run for a while lets the event loop turn. */
import { setImmediate } from "node:timers/promises";

/** Longest piece of work, milliseconds: a few of them, one long step and a collection of garbage still fit into the 20 that may block the loop. */
const sliceMs = 4;

export class Slices {
  #began = performance.now();

  /** True when `rest` is due. */
  get due(): boolean {
    return performance.now() - this.#began > sliceMs;
  }

  async rest(): Promise<void> {
    await setImmediate();
    this.#began = performance.now();
  }
}
