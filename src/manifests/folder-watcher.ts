/**
 * Notices that something in a folder changed. inotify tells of most changes at once, atomic renames included; a slow rescan tells of
 * what it misses (a folder on a network file system, a replaced folder, an exhausted inotify limit).
 */
import { type FSWatcher, watch } from "node:fs";

/** How many quiet times a change waits at most. */
const longestDelay = 10;

export interface FolderWatcherOptions {
  /** Quiet time after the last event before `changed` is called, milliseconds. */
  readonly debounce: number;
  /** Time between rescans, milliseconds. */
  readonly rescan: number;
}

export class FolderWatcher {
  readonly #folder: string;
  readonly #changed: () => void;
  readonly #options: FolderWatcherOptions;
  #watcher: FSWatcher | undefined;
  #debounce: NodeJS.Timeout | undefined;
  #rescan: NodeJS.Timeout | undefined;
  /** Of the events that `changed` has not been called for. */
  #firstEvent: number | undefined;

  constructor(folder: string, changed: () => void, options: FolderWatcherOptions) {
    this.#folder = folder;
    this.#changed = changed;
    this.#options = options;
  }

  start(): void {
    if (this.#rescan !== undefined) return;
    this.#watch();
    this.#rescan = setInterval(() => {
      // The watch follows the folder's inode: a folder that was replaced needs a new one.
      this.#unwatch();
      this.#watch();
      this.#changed();
    }, this.#options.rescan);
    this.#rescan.unref();
  }

  stop(): void {
    clearInterval(this.#rescan);
    clearTimeout(this.#debounce);
    this.#firstEvent = undefined;
    this.#rescan = undefined;
    this.#unwatch();
  }

  /** Calls `changed` after a delay, as an event would; a later event does not postpone it. */
  again(delay: number): void {
    setTimeout(() => {
      if (this.#rescan !== undefined) this.#changed();
    }, delay).unref();
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#folder, () => this.#touched());
      this.#watcher.on("error", () => this.#unwatch());
      this.#watcher.unref();
    } catch {
      // The folder is away, or inotify is exhausted: the rescan carries on and tries again.
      this.#watcher = undefined;
    }
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #touched(): void {
    const now = performance.now();
    this.#firstEvent ??= now;
    // Events without end must not put the news off without end.
    if (now - this.#firstEvent > longestDelay * this.#options.debounce) return;
    clearTimeout(this.#debounce);
    this.#debounce = setTimeout(() => {
      this.#firstEvent = undefined;
      this.#changed();
    }, this.#options.debounce);
    this.#debounce.unref();
  }
}
