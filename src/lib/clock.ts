/** Time as a collaborator, so that whatever waits for hours can be tested in none. */
import { longestTimerMs } from "./duration.ts";

export interface Clock {
  /** Unix time in milliseconds. */
  now(): number;
  /** Calls `then` once after `delayMs` unless the returned function was called before. */
  after(delayMs: number, then: () => void): () => void;
}

/** The real one. Its timers don't keep the process alive; delays beyond what a timer holds are waited in pieces. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, then) {
    let timer: NodeJS.Timeout;
    const wait = (left: number) => {
      const piece = Math.min(Math.max(left, 0), longestTimerMs);
      timer = setTimeout(() => (left > piece ? wait(left - piece) : then()), piece).unref();
    };
    wait(delayMs);
    return () => clearTimeout(timer);
  },
};
