/** Values that many things share, each kept once under a number for as long as something holds it. */
export class ValuePool<T> {
  readonly #ids = new Map<string, number>();
  readonly #entries: ({ readonly key: string; readonly value: T; holders: number } | undefined)[] = [];
  readonly #free: number[] = [];

  /** `key` is what makes two values the same; `make` is asked for those that are new. */
  hold(key: string, make: () => T): number {
    const known = this.#ids.get(key);
    const entry = known === undefined ? undefined : this.#entries[known];
    if (known !== undefined && entry !== undefined) {
      entry.holders++;
      return known;
    }
    const id = this.#free.pop() ?? this.#entries.length;
    this.#entries[id] = { key, value: make(), holders: 1 };
    this.#ids.set(key, id);
    return id;
  }

  get(id: number): T {
    const entry = this.#entries[id];
    if (entry === undefined) throw new RangeError(`nothing holds value ${id}`);
    return entry.value;
  }

  release(id: number): void {
    const entry = this.#entries[id];
    if (entry === undefined) throw new RangeError(`nothing holds value ${id}`);
    if (--entry.holders > 0) return;
    this.#ids.delete(entry.key);
    this.#entries[id] = undefined;
    this.#free.push(id);
  }

  get size(): number {
    return this.#ids.size;
  }
}
