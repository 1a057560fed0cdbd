/**
 * What waits for a collector: a bounded queue that a timer empties in batches, one at a time. A collector that is slow or away costs
 * items, which are counted, and never a connection.
 */
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { Logger } from "../log.ts";
import { batchSize, lastWaitMs } from "./sending.ts";

export interface ExportQueueDeps<Item> {
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn" | "info">;
  /** What went wrong, undefined for nothing. One call at a time. */
  readonly send: (batch: readonly Item[]) => Promise<string | undefined>;
}

export interface ExportQueueOptions {
  /** As the log names the items. */
  readonly what: string;
  readonly intervalMs: number;
  /** Items that may wait. */
  readonly queue: number;
}

export interface ExportQueueStats {
  readonly waiting: number;
  readonly exported: number;
  readonly dropped: number;
}

export class ExportQueue<Item> {
  readonly #deps: ExportQueueDeps<Item>;
  readonly #options: ExportQueueOptions;
  #waiting: Item[] = [];
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #failing = false;
  #exported = 0;
  #dropped = 0;

  constructor(deps: ExportQueueDeps<Item>, options: ExportQueueOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#schedule();
  }

  /** Makes the item only where there is room for it. */
  add(make: () => Item): void {
    if (this.#stopped !== undefined || this.#waiting.length >= this.#options.queue) this.#dropped++;
    else this.#waiting.push(make());
  }

  stats(): ExportQueueStats {
    return { waiting: this.#waiting.length, exported: this.#exported, dropped: this.#dropped };
  }

  /** Sends what waits, as far as the collector takes it at once; a second call waits for the first. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#cancel();
    const late = Promise.withResolvers<void>();
    const cancel = this.#deps.clock.after(lastWaitMs, late.resolve);
    await Promise.race([Promise.resolve(this.#running).then(() => this.#flush()), late.promise]);
    cancel();
    this.#dropped += this.#waiting.splice(0).length;
  }

  #schedule(): void {
    this.#cancel = this.#deps.clock.after(this.#options.intervalMs, () => {
      this.#running = this.#flush().finally(() => {
        if (this.#stopped === undefined) this.#schedule();
      });
    });
  }

  /** Until the queue is empty, or the collector does not take a batch: the rest then waits for the next turn. */
  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, batchSize);
      const error = await this.#deps.send(batch).catch(messageOf);
      if (error === undefined) this.#exported += batch.length;
      else this.#dropped += batch.length;
      this.#tell(error);
      if (error !== undefined) return;
    }
  }

  /** Once when it begins and once when it is over: an export that fails must not fill the agent's log. */
  #tell(error: string | undefined): void {
    if ((error !== undefined) === this.#failing) return;
    this.#failing = error !== undefined;
    const { what } = this.#options;
    if (error === undefined) this.#deps.log.info(`the collector takes ${what} again`);
    else this.#deps.log.warn({ error }, `the collector takes no ${what}; they are dropped and counted`);
  }
}
