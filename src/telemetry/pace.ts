/**
 * Long work in small steps beside work that cannot wait. Everyone who shares a pace rests after each step, one after the other: the share
 * of the thread that their steps take together does not grow with their number.
 */
import { setTimeout } from "node:timers/promises";

/** Several times what a step takes. Timers are of whole milliseconds, so that it is up to one more. */
const restMs = 2;

export class Pace {
  #last: Promise<void> = Promise.resolve();

  /** Resolves after a rest of its own, which begins when everybody's before has ended. */
  rest(): Promise<void> {
    this.#last = this.#last.then(() => setTimeout(restMs));
    return this.#last;
  }
}
