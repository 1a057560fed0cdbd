/**
 * Whether the agent is ready, as a set of named blockers: each part that must come up first holds one, and the log says how long
 * each took and what is still open. Draining is a blocker too, so that the kubelet stops counting on an agent that is leaving.
 */
import { formatDuration } from "../lib/duration.ts";

export interface ReadinessDeps {
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  readonly log: { info(fields: object, message: string): void };
}

export interface Blocker {
  readonly name: string;
  readonly forMs: number;
}

export class Readiness {
  readonly #deps: ReadinessDeps;
  readonly #since = new Map<string, number>();
  readonly #waiting: (() => void)[] = [];
  readonly #started: number;

  constructor(deps: ReadinessDeps) {
    this.#deps = deps;
    this.#started = deps.now();
  }

  /** Not ready until the returned function is called; calling it again does nothing. */
  block(name: string): () => void {
    if (!this.#since.has(name)) this.#since.set(name, this.#deps.now());
    return () => this.#release(name);
  }

  /** What readiness waits for; empty when ready. */
  blockers(): Blocker[] {
    const now = this.#deps.now();
    return Array.from(this.#since, ([name, since]) => ({ name, forMs: now - since }));
  }

  get ready(): boolean {
    return this.#since.size === 0;
  }

  /** Resolves when nothing blocks. */
  whenReady(): Promise<void> {
    if (this.ready) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #release(name: string): void {
    const since = this.#since.get(name);
    if (since === undefined) return;
    this.#since.delete(name);
    const now = this.#deps.now();
    const took = formatDuration(now - since);
    if (this.#since.size > 0) {
      this.#deps.log.info({ took, left: [...this.#since.keys()].join(",") }, `${name} is ready`);
      return;
    }
    this.#deps.log.info(
      { took, sinceStart: formatDuration(now - this.#started) },
      `${name} is ready, and so is the agent`,
    );
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
