/** A fixed number of things at a time; the others wait in order of arrival. */
import { abortable } from "./abort.ts";

export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Runs the work when a slot is free, and frees the slot whatever comes of it. Rejects without running when the signal comes first. */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
    } else {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      try {
        // The slot is handed over, not freed and taken again: nobody can overtake.
        await abortable(promise, signal);
      } catch (error) {
        const place = this.#waiting.indexOf(resolve);
        if (place === -1) this.#release();
        else this.#waiting.splice(place, 1);
        throw error;
      }
    }
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
