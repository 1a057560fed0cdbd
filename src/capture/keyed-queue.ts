/** Runs tasks of the same key one after the other, tasks of different keys at once. */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    // A failed task is its caller's to handle; the next one runs all the same.
    const result = before.then(task, task);
    this.#tails.set(key, result);
    try {
      return await result;
    } finally {
      if (this.#tails.get(key) === result) {
        this.#tails.delete(key);
      }
    }
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#tails.size > 0) {
      await Promise.allSettled(this.#tails.values());
    }
  }
}
