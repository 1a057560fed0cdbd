/**
 * Names of workloads and Services as numbers. A name is kept as its last part beside the number of what stands before it, which
 * thousands share (`cluster//Pod/namespace/`), outside JavaScript's heap; it goes when nothing holds it any more.
 */
import { ByteStore } from "../lib/byte-store.ts";
import { HashIndex, hashText } from "../lib/hash-index.ts";
import { Numbers } from "../lib/numbers.ts";
import { ValuePool } from "../lib/value-pool.ts";

/** Bytes of a prefix' number at the head of a record. */
const prefixBytes = 4;

export class NameTable {
  readonly #prefixes = new ValuePool<string>();
  readonly #store = new ByteStore();
  readonly #index = new HashIndex();
  readonly #places = new Numbers();
  readonly #holders = new Numbers();
  readonly #free: number[] = [];
  #next = 0;

  get size(): number {
    return this.#index.size;
  }

  /** The number of a name, which is held from here on until it is released as often. */
  hold(name: string): number {
    const hash = hashText(name);
    const known = this.#index.find(hash, (id) => this.text(id) === name);
    if (known !== -1) {
      this.#holders.set(known, this.#holders.at(known) + 1);
      return known;
    }
    const id = this.#free.pop() ?? this.#next++;
    const cut = name.lastIndexOf("/") + 1;
    const prefix = name.slice(0, cut);
    const record = Buffer.alloc(prefixBytes + Buffer.byteLength(name) - Buffer.byteLength(prefix));
    record.writeUInt32LE(this.#prefixes.hold(prefix, () => prefix));
    record.write(name.slice(cut), prefixBytes);
    this.#places.set(id, this.#store.put(record));
    this.#holders.set(id, 1);
    this.#index.add(hash, id);
    return id;
  }

  /** -1 for a name that nothing holds. */
  find(name: string): number {
    return this.#index.find(hashText(name), (id) => this.text(id) === name);
  }

  text(id: number): string {
    const { prefix, rest } = this.#read(id);
    return this.#prefixes.get(prefix) + rest;
  }

  release(id: number): void {
    const holders = this.#holders.at(id) - 1;
    this.#holders.set(id, holders);
    if (holders > 0) return;
    const name = this.text(id);
    this.#prefixes.release(this.#read(id).prefix);
    this.#index.remove(hashText(name), id);
    this.#store.free(this.#places.at(id));
    this.#places.set(id, 0);
    this.#free.push(id);
  }

  #read(id: number): { readonly prefix: number; readonly rest: string } {
    const { buffer, byteOffset, length } = this.#store.get(this.#places.at(id));
    const record = Buffer.from(buffer, byteOffset, length);
    return { prefix: record.readUInt32LE(0), rest: record.toString("utf8", prefixBytes) };
  }
}
