/** A Service with what stands behind it, in one typed array: names as numbers, three words for an endpoint with an IPv4 address. */
import { ipBytes, ipFromBytes } from "../lib/ip.ts";
import type { Service, ServiceEndpoint } from "../model/service.ts";
import type { WorkloadUid } from "../model/workload.ts";
import type { NameTable } from "./name-table.ts";

/** A Service with what stands behind it. */
export interface ServiceEntry {
  readonly service: Service;
  /** Usable endpoints by service port; a port without any has an empty list. */
  readonly endpoints: ReadonlyMap<number, readonly ServiceEndpoint[]>;
  /** All pods behind the service, ready or not: whom a policy with a `targetRef` to it selects. */
  readonly members: ReadonlySet<WorkloadUid>;
}

const sixBytes = 1 << 16;
const weighted = 1 << 17;
const targetPortMask = 0xffff;

export class PackedService {
  readonly service: Service;
  readonly #names: NameTable;
  /** Number of members, members in order, then for each port: port, number of words, endpoints. */
  readonly #words: Uint32Array;

  /** Holds the names that are in it. */
  constructor(entry: ServiceEntry, names: NameTable) {
    this.service = entry.service;
    this.#names = names;
    const members = [...entry.members].map((uid) => names.hold(uid)).sort((one, other) => one - other);
    const words = [members.length, ...members];
    for (const [port, endpoints] of entry.endpoints) {
      words.push(port, 0);
      const at = words.length;
      for (const endpoint of endpoints) pushEndpoint(words, endpoint, names);
      words[at - 1] = words.length - at;
    }
    this.#words = Uint32Array.from(words);
  }

  release(): void {
    for (const member of this.memberIds) this.#names.release(member);
    for (const [, start, end] of this.#ports()) {
      for (const { id } of this.#endpoints(start, end)) if (id !== -1) this.#names.release(id);
    }
  }

  /** In order. */
  get memberIds(): Uint32Array {
    return this.#words.subarray(1, 1 + (this.#words[0] ?? 0));
  }

  has(uid: WorkloadUid): boolean {
    const id = this.#names.find(uid);
    if (id === -1) return false;
    const { memberIds } = this;
    let low = 0;
    for (let high = memberIds.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((memberIds[middle] ?? 0) < id) low = middle + 1;
      else high = middle;
    }
    return memberIds[low] === id;
  }

  members(): Set<WorkloadUid> {
    return new Set(Array.from(this.memberIds, (id) => this.#names.text(id) as WorkloadUid));
  }

  endpoints(port: number): ServiceEndpoint[] | undefined {
    for (const [known, start, end] of this.#ports()) {
      if (known !== port) continue;
      return this.#endpoints(start, end).map(({ id, ...endpoint }) => ({
        workload: id === -1 ? undefined : (this.#names.text(id) as WorkloadUid),
        ...endpoint,
      }));
    }
    return undefined;
  }

  /** What stands behind the Service is the same, whatever the Service itself is. */
  sameMembers(other: PackedService): boolean {
    const { length } = this.#words;
    if (length !== other.#words.length) return false;
    for (let at = 0; at < length; at++) if (this.#words[at] !== other.#words[at]) return false;
    return true;
  }

  *#ports(): Iterable<readonly [port: number, start: number, end: number]> {
    const words = this.#words;
    for (let at = 1 + (words[0] ?? 0); at < words.length; ) {
      const start = at + 2;
      const end = start + (words[at + 1] ?? 0);
      yield [words[at] ?? 0, start, end];
      at = end;
    }
  }

  #endpoints(start: number, end: number): (Omit<ServiceEndpoint, "workload"> & { readonly id: number })[] {
    const words = this.#words;
    const endpoints: (Omit<ServiceEndpoint, "workload"> & { readonly id: number })[] = [];
    for (let at = start; at < end; ) {
      const id = (words[at] ?? 0) - 1;
      const head = words[at + 1] ?? 0;
      const addressWords = (head & sixBytes) === 0 ? 1 : 4;
      const bytes = Array.from(words.subarray(at + 2, at + 2 + addressWords)).flatMap(bytesOf);
      at += 2 + addressWords;
      const weight = (head & weighted) === 0 ? 1 : (words[at++] ?? 1);
      endpoints.push({ id, address: ipFromBytes(bytes) ?? "", targetPort: head & targetPortMask, weight });
    }
    return endpoints;
  }
}

function pushEndpoint(words: number[], endpoint: ServiceEndpoint, names: NameTable): void {
  const { workload, address, targetPort, weight } = endpoint;
  const bytes = ipBytes(address);
  if (bytes === undefined) throw new TypeError(`${JSON.stringify(address)} is no address of an endpoint`);
  words.push(workload === undefined ? 0 : names.hold(workload) + 1);
  words.push(targetPort | (bytes.length === 4 ? 0 : sixBytes) | (weight === 1 ? 0 : weighted));
  for (let at = 0; at < bytes.length; at += 4)
    words.push(
      (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>>
        0,
    );
  if (weight !== 1) words.push(weight);
}

function bytesOf(word: number): number[] {
  return [word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff];
}
