/** The version of each resource that is held, beside the names that the mesh's tables keep anyway. */
import { ByteStore } from "../../lib/byte-store.ts";
import { Numbers } from "../../lib/numbers.ts";
import type { NameTable } from "../../mesh/name-table.ts";

export class ResourceVersions {
  readonly #names: NameTable;
  readonly #store = new ByteStore();
  readonly #places = new Numbers();
  #size = 0;

  constructor(names: NameTable) {
    this.#names = names;
  }

  get size(): number {
    return this.#size;
  }

  get(name: string): string | undefined {
    const id = this.#names.find(name);
    return id === -1 || this.#places.at(id) === 0 ? undefined : this.#read(id);
  }

  set(name: string, version: string): void {
    const known = this.#names.find(name);
    const place = known === -1 ? 0 : this.#places.at(known);
    const id = place === 0 ? this.#names.hold(name) : known;
    if (place !== 0) this.#store.free(place);
    else this.#size++;
    this.#places.set(id, this.#store.put(Buffer.from(version)));
  }

  delete(name: string): void {
    const id = this.#names.find(name);
    const place = id === -1 ? 0 : this.#places.at(id);
    if (place === 0) return;
    this.#store.free(place);
    this.#places.set(id, 0);
    this.#size--;
    this.#names.release(id);
  }

  *[Symbol.iterator](): Iterator<[name: string, version: string]> {
    for (let id = 0; id < this.#places.length; id++) {
      if (this.#places.at(id) !== 0) yield [this.#names.text(id), this.#read(id)];
    }
  }

  #read(id: number): string {
    const { buffer, byteOffset, length } = this.#store.get(this.#places.at(id));
    return Buffer.from(buffer, byteOffset, length).toString();
  }
}
