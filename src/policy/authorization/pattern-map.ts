/** Values by pattern: a text finds all patterns that match it with one map access per length of prefix or suffix in use. */
import type { Pattern } from "./pattern.ts";

export class PatternMap<T> {
  readonly #make: () => T;
  readonly #exact = new Map<string, T>();
  readonly #prefixes = new Map<number, Map<string, T>>();
  readonly #suffixes = new Map<number, Map<string, T>>();
  #presence: T | undefined;

  constructor(make: () => T) {
    this.#make = make;
  }

  /** The value of a pattern, if one was made. */
  peek(pattern: Pattern): T | undefined {
    switch (pattern.kind) {
      case "presence":
        return this.#presence;
      case "exact":
        return this.#exact.get(pattern.text);
      case "prefix":
        return this.#prefixes.get(pattern.text.length)?.get(pattern.text);
      case "suffix":
        return this.#suffixes.get(pattern.text.length)?.get(pattern.text);
    }
  }

  /** The value of a pattern, made on first use. */
  at(pattern: Pattern): T {
    switch (pattern.kind) {
      case "presence":
        this.#presence ??= this.#make();
        return this.#presence;
      case "exact":
        return this.#in(this.#exact, pattern.text);
      case "prefix":
        return this.#in(lengths(this.#prefixes, pattern.text.length), pattern.text);
      case "suffix":
        return this.#in(lengths(this.#suffixes, pattern.text.length), pattern.text);
    }
  }

  visit(text: string, each: (value: T) => void): void {
    if (this.#presence !== undefined && text !== "") each(this.#presence);
    const exact = this.#exact.get(text);
    if (exact !== undefined) each(exact);
    for (const [length, prefixes] of this.#prefixes) {
      const found = length > text.length ? undefined : prefixes.get(text.slice(0, length));
      if (found !== undefined) each(found);
    }
    for (const [length, suffixes] of this.#suffixes) {
      const found = length > text.length ? undefined : suffixes.get(text.slice(text.length - length));
      if (found !== undefined) each(found);
    }
  }

  #in(values: Map<string, T>, text: string): T {
    let value = values.get(text);
    if (value === undefined) {
      value = this.#make();
      values.set(text, value);
    }
    return value;
  }
}

function lengths<T>(byLength: Map<number, Map<string, T>>, length: number): Map<string, T> {
  let values = byLength.get(length);
  if (values === undefined) {
    values = new Map();
    byLength.set(length, values);
  }
  return values;
}
