/** Work that comes all at once goes one piece for each turn of the event loop, in order of arrival. */
import { setImmediate } from "node:timers/promises";

export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves in a turn that no other caller gets. */
  next(): Promise<void> {
    this.#last = this.#last.then(() => setImmediate());
    return this.#last;
  }
}
