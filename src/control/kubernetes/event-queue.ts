/**
 * Events of a watch, handed on in order and so many in one turn of the event loop: a socket is read as far as it goes, and thousands of
 * events in one go would keep everybody else waiting, agents that need certificates too.
 */
export interface EventQueueDeps<T> {
  readonly take: (event: T) => void;
  /** Told what `take` threw when nobody else was there to hear it. Nothing is handed on after that. */
  readonly failed: (error: unknown) => void;
}

export class EventQueue<T> {
  readonly #deps: EventQueueDeps<T>;
  readonly #atOnce: number;
  #waiting: T[] = [];
  /** How many of those are handed on already. */
  #read = 0;
  #taken = 0;
  #turn: NodeJS.Immediate | undefined;
  #closed = false;
  readonly #drained: (() => void)[] = [];

  constructor(deps: EventQueueDeps<T>, options: { readonly atOnce: number }) {
    this.#deps = deps;
    this.#atOnce = options.atOnce;
  }

  /** At once when its turn is now, and then throws what `take` throws. */
  push(event: T): void {
    if (this.#closed) return;
    this.#turn ??= setImmediate(() => this.#next());
    if (this.#waiting.length > 0 || this.#taken >= this.#atOnce) {
      this.#waiting.push(event);
      return;
    }
    this.#taken += 1;
    this.#deps.take(event);
  }

  /** Resolves when all that was pushed is handed on, or nothing will be any more. */
  drained(): Promise<void> {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => void this.#drained.push(resolve));
  }

  /** What waits is dropped. May be called twice. */
  close(): void {
    this.#closed = true;
    this.#waiting = [];
    this.#read = 0;
    clearImmediate(this.#turn);
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  #next(): void {
    const now = this.#waiting.slice(this.#read, this.#read + this.#atOnce);
    this.#read += now.length;
    if (this.#read === this.#waiting.length) {
      this.#waiting = [];
      this.#read = 0;
    }
    this.#taken = now.length;
    this.#turn = now.length === 0 ? undefined : setImmediate(() => this.#next());
    try {
      for (const event of now) if (!this.#closed) this.#deps.take(event);
    } catch (error) {
      this.close();
      this.#deps.failed(error);
    }
    if (this.#waiting.length === 0) for (const resolve of this.#drained.splice(0)) resolve();
  }
}
