/**
 * A small file that others replace while we run: tokens, roots, lists. It is looked at by polling its inode, size and times, because
 * that sees every way of replacing it (rename, Kubernetes' swapped symlinks, network file systems) and change notifications don't.
 */
import { readFile, stat } from "node:fs/promises";
import type { Clock } from "./clock.ts";

export interface WatchedFileOptions {
  readonly path: string;
  readonly intervalMs: number;
}

export class WatchedFile {
  readonly #clock: Clock;
  readonly #options: WatchedFileOptions;
  readonly #onText: (text: string) => void;
  readonly #onError: (error: unknown) => void;
  #seen = "";
  #cancel: () => void = () => {};
  #stopped = false;

  /** `onText` gets the first text and each other one; what it throws goes to `onError`, like a file that cannot be read. */
  constructor(
    deps: { clock: Clock; onText: (text: string) => void; onError: (error: unknown) => void },
    options: WatchedFileOptions,
  ) {
    this.#clock = deps.clock;
    this.#onText = deps.onText;
    this.#onError = deps.onError;
    this.#options = options;
  }

  /** Reads for the first time; rejects with what is wrong, and then watches nothing. */
  async start(): Promise<void> {
    await this.#look();
    this.#schedule();
  }

  /** May be called twice. */
  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancel = this.#clock.after(this.#options.intervalMs, () => {
      void this.#look()
        .catch((error: unknown) => this.#onError(error))
        .then(() => this.#schedule());
    });
  }

  /** The mark is taken before the text: a change between the two is seen the next time. */
  async #look(): Promise<void> {
    const { ino, size, mtimeNs, ctimeNs } = await stat(this.#options.path, { bigint: true });
    const mark = `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    if (mark === this.#seen) return;
    const text = await readFile(this.#options.path, "utf8");
    if (this.#stopped) return;
    // Also for a text that is then refused: one complaint for each change, not one each second.
    this.#seen = mark;
    this.#onText(text);
  }
}
