/** A bounded queue between several writers and one reader: a writer waits while the reader is behind, so memory has an end. */

export class Channel<T> implements AsyncIterable<T> {
  readonly #capacity: number;
  readonly #values: T[] = [];
  #closed = false;
  #failure: { readonly error: unknown } | undefined;
  #readable = Promise.withResolvers<void>();
  #writable = Promise.withResolvers<void>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Resolves to whether the value will be read: nothing is taken any more once the channel is closed. */
  async put(value: T): Promise<boolean> {
    while (!this.#closed && this.#values.length >= this.#capacity) await this.#writable.promise;
    if (this.#closed) return false;
    this.#values.push(value);
    this.#readable.resolve();
    return true;
  }

  /** What was put is still read; then the reader's loop ends, or throws what is given here. May be called twice: the first counts. */
  close(failure?: { readonly error: unknown }): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#failure = failure;
    this.#readable.resolve();
    this.#writable.resolve();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    try {
      for (;;) {
        const value = this.#values.shift();
        if (value !== undefined) {
          this.#writable.resolve();
          this.#writable = Promise.withResolvers();
          yield value;
        } else if (this.#closed) {
          if (this.#failure !== undefined) throw this.#failure.error;
          return;
        } else {
          this.#readable = Promise.withResolvers();
          await this.#readable.promise;
        }
      }
    } finally {
      // A reader that leaves must not leave writers waiting.
      this.close();
      this.#values.length = 0;
    }
  }
}
