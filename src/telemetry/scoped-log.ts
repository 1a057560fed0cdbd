/** A log with one child for each part of the program, all at one level that can be changed while running. */
import type { Level, Logger } from "pino";

export class ScopedLog {
  readonly root: Logger;
  readonly #scopes = new Map<string, Logger>();

  constructor(root: Logger) {
    this.root = root;
  }

  /** The child that writes `scope` with each line; the same one for the same name. */
  scope(name: string): Logger {
    const existing = this.#scopes.get(name);
    if (existing !== undefined) return existing;
    const child = this.root.child({ scope: name });
    this.#scopes.set(name, child);
    return child;
  }

  get level(): string {
    return this.root.level;
  }

  /** pino's children keep the level that their parent had when they were made, so each is told. */
  set level(level: Level) {
    this.root.level = level;
    for (const child of this.#scopes.values()) child.level = level;
  }
}

export const logLevels = ["trace", "debug", "info", "warn", "error"] as const satisfies readonly Level[];
