/**
 * All workloads, by name and by address, at a few hundred bytes each outside JavaScript's heap: a mesh of 150 000 is no burden for a
 * collector, and a load of them allocates next to nothing. Those that traffic asks about are kept as objects for a while.
 */
import { ByteStore } from "../lib/byte-store.ts";
import { HashIndex, hashText } from "../lib/hash-index.ts";
import { Numbers } from "../lib/numbers.ts";
import { Recent } from "../lib/recent.ts";
import type { Workload, WorkloadUid } from "../model/workload.ts";
import type { NameTable } from "./name-table.ts";
import { WorkloadRecords } from "./workload-record.ts";

/** Objects kept of what was asked for: more than the peers that one node's pods talk to. */
const keptObjects = 4096;

export class WorkloadTable {
  readonly #names: NameTable;
  readonly #records = new WorkloadRecords();
  readonly #store = new ByteStore();
  /** Where a workload's record is, by the number of its name; 0 for none. */
  readonly #places = new Numbers();
  /** The numbers of their names, by namespace: who a policy of one may concern is found without a look at all. */
  readonly #namespaces = new Map<string, Set<number>>();
  #size = 0;
  readonly #addresses = new HashIndex();
  /** Addresses that several workloads claim, the one who has it first. */
  readonly #disputed = new Map<string, number[]>();
  readonly #objects = new Recent<number, Workload>(keptObjects);

  constructor(names: NameTable) {
    this.#names = names;
  }

  get size(): number {
    return this.#size;
  }

  /** False when it is what was there already. */
  set(workload: Workload): boolean {
    const record = this.#records.encode(workload);
    const known = this.#names.find(workload.uid);
    const place = known === -1 ? 0 : this.#places.at(known);
    let kept: readonly string[] = [];
    if (place !== 0) {
      const before = this.#store.get(place);
      if (Buffer.compare(before, record) === 0) {
        this.#records.release(record);
        return false;
      }
      // Who only changes does not come anew to addresses that it has: another may have come to them since.
      if (this.#records.enrolled(before) === this.#records.enrolled(record)) {
        kept = this.#records.addresses(before).filter((address) => workload.addresses.includes(address));
      }
      this.#drop(known, place, kept);
    }
    const id = place === 0 ? this.#names.hold(workload.uid) : known;
    this.#places.set(id, this.#store.put(record));
    const ids = this.#namespaces.get(workload.namespace) ?? new Set<number>();
    this.#namespaces.set(workload.namespace, ids.add(id));
    this.#size++;
    this.#objects.delete(id);
    for (const address of workload.addresses) if (!kept.includes(address)) this.#claim(address, id);
    return true;
  }

  /** False when it wasn't there. */
  delete(uid: WorkloadUid): boolean {
    const id = this.#names.find(uid);
    const place = id === -1 ? 0 : this.#places.at(id);
    if (place === 0) return false;
    this.#drop(id, place);
    this.#places.set(id, 0);
    this.#objects.delete(id);
    this.#names.release(id);
    return true;
  }

  get(uid: WorkloadUid): Workload | undefined {
    const id = this.#names.find(uid);
    return id === -1 || this.#places.at(id) === 0 ? undefined : this.#object(id);
  }

  byAddress(address: string): Workload | undefined {
    const id = this.#owner(address);
    return id === -1 ? undefined : this.#object(id);
  }

  *values(): Iterable<Workload> {
    for (const namespace of this.#namespaces.keys()) yield* this.in(namespace);
  }

  *in(namespace: string): Iterable<Workload> {
    for (const id of this.#namespaces.get(namespace) ?? []) yield this.#objects.get(id) ?? this.#decode(id);
  }

  #object(id: number): Workload {
    const known = this.#objects.get(id);
    if (known !== undefined) return known;
    const workload = this.#decode(id);
    this.#objects.set(id, workload);
    return workload;
  }

  #decode(id: number): Workload {
    return this.#records.decode(this.#names.text(id) as WorkloadUid, this.#store.get(this.#places.at(id)));
  }

  #drop(id: number, place: number, kept: readonly string[] = []): void {
    const record = this.#store.get(place);
    for (const address of this.#records.addresses(record)) if (!kept.includes(address)) this.#disclaim(address, id);
    const namespace = this.#records.namespace(record);
    const ids = this.#namespaces.get(namespace);
    ids?.delete(id);
    if (ids?.size === 0) this.#namespaces.delete(namespace);
    this.#size--;
    this.#records.release(record);
    this.#store.free(place);
  }

  #owner(address: string): number {
    return this.#addresses.find(hashText(address), (id) => this.#addressesOf(id).includes(address));
  }

  #addressesOf(id: number): readonly string[] {
    return this.#records.addresses(this.#store.get(this.#places.at(id)));
  }

  /**
   * A tunnel to the wrong pod fails its identity check; plaintext to the wrong pod would not. So the enrolled claimant of an address wins,
   * and among equals the one who came to it last: addresses are reused.
   */
  #claim(address: string, id: number): void {
    const hash = hashText(address);
    const owner = this.#owner(address);
    if (owner === id) return;
    if (owner === -1) {
      this.#addresses.add(hash, id);
      return;
    }
    const claims = this.#disputed.get(address) ?? [owner];
    const prefers = (other: number) => this.#enrolled(id) || !this.#enrolled(other);
    const before = claims.findIndex(prefers);
    claims.splice(before === -1 ? claims.length : before, 0, id);
    this.#disputed.set(address, claims);
    this.#give(address, owner, claims[0] ?? id);
  }

  #disclaim(address: string, id: number): void {
    const claims = this.#disputed.get(address);
    if (claims === undefined) {
      this.#addresses.remove(hashText(address), id);
      return;
    }
    const left = claims.filter((other) => other !== id);
    const [first] = left;
    if (first !== undefined && claims[0] === id) this.#give(address, id, first);
    if (left.length > 1) this.#disputed.set(address, left);
    else this.#disputed.delete(address);
  }

  #give(address: string, from: number, to: number): void {
    if (from === to) return;
    const hash = hashText(address);
    this.#addresses.remove(hash, from);
    this.#addresses.add(hash, to);
  }

  #enrolled(id: number): boolean {
    return this.#records.enrolled(this.#store.get(this.#places.at(id)));
  }
}
