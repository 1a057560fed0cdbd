/** A growing array of unsigned 32-bit numbers outside JavaScript's heap; what was never set is 0. */
export class Numbers {
  #values = new Uint32Array(64);

  /** From here on all are 0. */
  get length(): number {
    return this.#values.length;
  }

  at(index: number): number {
    return this.#values[index] ?? 0;
  }

  set(index: number, value: number): void {
    if (index >= this.#values.length) {
      const grown = new Uint32Array(Math.max(index + 1, Math.ceil(this.#values.length * 1.5)));
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[index] = value;
  }
}
