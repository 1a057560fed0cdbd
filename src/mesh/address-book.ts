/** Who answers to an IP address, when more than one may claim it. */
export class AddressBook<T> {
  readonly #claims = new Map<string, T[]>();
  readonly #prefers: (one: T, other: T) => boolean;

  /** `prefers(later, earlier)`: true if the later claim on an address beats the earlier one. */
  constructor(prefers: (later: T, earlier: T) => boolean) {
    this.#prefers = prefers;
  }

  claim(addresses: readonly string[], owner: T): void {
    for (const address of addresses) {
      const claims = this.#claims.get(address);
      if (claims === undefined) this.#claims.set(address, [owner]);
      else claims.splice(claims.findIndex((other) => this.#prefers(owner, other)) >>> 0, 0, owner);
    }
  }

  release(addresses: readonly string[], owner: T): void {
    for (const address of addresses) {
      const left = this.#claims.get(address)?.filter((other) => other !== owner);
      if (left === undefined || left.length === 0) this.#claims.delete(address);
      else this.#claims.set(address, left);
    }
  }

  owner(address: string): T | undefined {
    return this.#claims.get(address)?.[0];
  }
}
