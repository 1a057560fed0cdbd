/** Work that comes all at once is begun in order of arrival, and the event loop turns whenever a slice of it is done. */
import { Slices } from "./slices.ts";

export class Turns {
  readonly #slices = new Slices();
  #last: Promise<void> = Promise.resolve();

  /** Resolves when what came before has begun, in a turn that has not taken long yet. */
  next(): Promise<void> {
    this.#last = this.#after(this.#last);
    return this.#last;
  }

  async #after(before: Promise<void>): Promise<void> {
    await before;
    if (this.#slices.due) await this.#slices.rest();
  }
}
