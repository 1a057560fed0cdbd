/**
 * Values by address block: an address finds all blocks that hold it with one map access per prefix length in use. A bit trie would
 * find them too, at a node per bit of every block.
 */
import type { Cidr } from "../../lib/ip.ts";

/** Blocks of one family and length, by their masked bits. */
interface Length<T> {
  readonly prefixLength: number;
  readonly blocks: Map<string, T>;
}

export class CidrMap<T> {
  readonly #make: () => T;
  /** By number of address bytes. */
  readonly #families = new Map<number, Length<T>[]>();

  constructor(make: () => T) {
    this.#make = make;
  }

  /** The value of a block, if one was made. */
  peek(cidr: Cidr): T | undefined {
    return this.#length(cidr)?.blocks.get(keyOf(cidr.bytes, cidr.prefixLength));
  }

  /** The value of a block, made on first use. */
  at(cidr: Cidr): T {
    let length = this.#length(cidr);
    if (length === undefined) {
      length = { prefixLength: cidr.prefixLength, blocks: new Map() };
      const family = this.#families.get(cidr.bytes.length);
      if (family === undefined) this.#families.set(cidr.bytes.length, [length]);
      else family.push(length);
    }
    const key = keyOf(cidr.bytes, cidr.prefixLength);
    let value = length.blocks.get(key);
    if (value === undefined) {
      value = this.#make();
      length.blocks.set(key, value);
    }
    return value;
  }

  #length(cidr: Cidr): Length<T> | undefined {
    return this.#families.get(cidr.bytes.length)?.find(({ prefixLength }) => prefixLength === cidr.prefixLength);
  }

  visit(address: readonly number[], each: (value: T) => void): void {
    for (const { prefixLength, blocks } of this.#families.get(address.length) ?? []) {
      const value = blocks.get(keyOf(address, prefixLength));
      if (value !== undefined) each(value);
    }
  }
}

/** The first `prefixLength` bits as text, whole bytes as one character each. */
function keyOf(bytes: readonly number[], prefixLength: number): string {
  const whole = prefixLength >> 3;
  const rest = prefixLength & 7;
  let key = "";
  for (let index = 0; index < whole; index += 1) key += String.fromCharCode(bytes[index] ?? 0);
  return rest === 0 ? key : key + String.fromCharCode((bytes[whole] ?? 0) & (0xff << (8 - rest)) & 0xff);
}
