/** Waits for states of the engine, not for times: conditions are looked at again whenever something has ended. */

interface Waiting {
  readonly condition: () => boolean;
  readonly done: (met: boolean) => void;
}

export class Conditions {
  readonly #waiting = new Set<Waiting>();

  /** True as soon as the condition holds, false when the time is over; without a time it waits as long as it takes. */
  until(condition: () => boolean, timeoutMs?: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiting: Waiting = {
        condition,
        done: (met) => {
          this.#waiting.delete(waiting);
          clearTimeout(timer);
          resolve(met);
        },
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(() => waiting.done(false), timeoutMs);
      this.#waiting.add(waiting);
    });
  }

  changed(): void {
    for (const waiting of this.#waiting) if (waiting.condition()) waiting.done(true);
  }
}
