/** A log with one child for each part of the program, all at one level that can be changed while running, or some at their own. */
import type { Level, Logger } from "pino";

export class ScopedLog {
  readonly root: Logger;
  readonly #scopes = new Map<string, Logger>();
  readonly #areas = new Map<string, Level>();

  constructor(root: Logger) {
    this.root = root;
  }

  /** The child that writes `scope` with each line; the same one for the same name. */
  scope(name: string): Logger {
    const existing = this.#scopes.get(name);
    if (existing !== undefined) return existing;
    const child = this.root.child({ scope: name });
    child.level = this.#areas.get(name) ?? this.root.level;
    this.#scopes.set(name, child);
    return child;
  }

  get level(): string {
    return this.root.level;
  }

  /** Of all but the areas that have their own. pino's children keep the level that they were made with, so each is told. */
  set level(level: Level) {
    this.root.level = level;
    for (const [name, child] of this.#scopes) if (!this.#areas.has(name)) child.level = level;
  }

  /** Scopes that have a level of their own. */
  get areas(): ReadonlyMap<string, Level> {
    return this.#areas;
  }

  /** Holds for a scope that comes later, too. */
  setArea(name: string, level: Level): void {
    this.#areas.set(name, level);
    const child = this.#scopes.get(name);
    if (child !== undefined) child.level = level;
  }

  resetAreas(): void {
    this.#areas.clear();
    for (const child of this.#scopes.values()) child.level = this.root.level;
  }
}

export const logLevels = ["trace", "debug", "info", "warn", "error"] as const satisfies readonly Level[];
