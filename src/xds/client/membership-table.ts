/**
 * What workloads are to Services, for all the mesh: endpoints come with workloads and are needed by Service. Both directions are kept as
 * numbers and bytes; a workload with one endpoint of one Service takes some thirty bytes.
 */
import { ByteStore } from "../../lib/byte-store.ts";
import { ipBytes, ipFromBytes } from "../../lib/ip.ts";
import { Numbers } from "../../lib/numbers.ts";
import type { NameTable } from "../../mesh/name-table.ts";
import type { MemberEndpoint, Memberships } from "../resources/workload.ts";

/** One workload, or an endpoint that is none. */
export interface Member {
  readonly memberships: Memberships;
  readonly healthy: boolean;
  readonly external: boolean;
}

const flag = { healthy: 1, external: 2 } as const;
/** Port, target port, weight, and the number of address bytes. */
const endpointHead = 2 + 2 + 4 + 1;
const longestAddress = 16;

export class MembershipTable {
  readonly #names: NameTable;
  readonly #store = new ByteStore();
  readonly #places = new Numbers();
  /** By the Service's number; who stands behind it, known or not. */
  readonly #behind: (Set<number> | undefined)[] = [];

  constructor(names: NameTable) {
    this.#names = names;
  }

  has(uid: string): boolean {
    const id = this.#names.find(uid);
    return id !== -1 && this.#places.at(id) !== 0;
  }

  get(uid: string): Member | undefined {
    const id = this.#names.find(uid);
    return id === -1 ? undefined : this.#read(id);
  }

  /** The Services for which something is different. Undefined: the workload is gone. */
  set(uid: string, now: Member | undefined): readonly string[] {
    const before = this.get(uid);
    const record = now === undefined ? undefined : this.#encode(now);
    const known = this.#names.find(uid);
    const place = known === -1 ? 0 : this.#places.at(known);
    if (place !== 0 && record !== undefined && Buffer.compare(this.#store.get(place), record) === 0) {
      for (const service of now?.memberships.keys() ?? []) this.#names.release(this.#names.find(service));
      return [];
    }
    const id = place === 0 ? this.#names.hold(uid) : known;
    if (place !== 0) this.#store.free(place);
    this.#places.set(id, record === undefined ? 0 : this.#store.put(record));
    const changed = this.#move(id, before, now);
    // What the record before held, and the workload's own name if it goes; last, because until here both are needed.
    for (const service of before?.memberships.keys() ?? []) this.#names.release(this.#names.find(service));
    if (record === undefined) this.#names.release(id);
    return changed;
  }

  /** Everybody behind a Service. */
  *behind(service: string): Iterable<readonly [uid: string, endpoints: readonly MemberEndpoint[], member: Member]> {
    const key = this.#names.find(service);
    for (const id of (key === -1 ? undefined : this.#behind[key]) ?? []) {
      const member = this.#read(id);
      const endpoints = member?.memberships.get(service);
      if (member !== undefined && endpoints !== undefined) yield [this.#names.text(id), endpoints, member];
    }
  }

  #move(id: number, before: Member | undefined, now: Member | undefined): readonly string[] {
    const changed: string[] = [];
    for (const service of before?.memberships.keys() ?? []) {
      if (now?.memberships.has(service) === true) continue;
      const key = this.#names.find(service);
      const behind = this.#behind[key];
      behind?.delete(id);
      if (behind?.size === 0) this.#behind[key] = undefined;
      changed.push(service);
    }
    const unmoved = before?.healthy === now?.healthy && before?.external === now?.external;
    for (const [service, endpoints] of now?.memberships ?? []) {
      const old = before?.memberships.get(service);
      const key = this.#names.find(service);
      if (old === undefined) this.#behind[key] = (this.#behind[key] ?? new Set()).add(id);
      if (!unmoved || JSON.stringify(old) !== JSON.stringify(endpoints)) changed.push(service);
    }
    return changed;
  }

  /** Holds the names of the Services in it. */
  #encode({ memberships, healthy, external }: Member): Uint8Array {
    let size = 1;
    for (const endpoints of memberships.values()) size += 4 + 4 + endpoints.length * (endpointHead + longestAddress);
    const record = Buffer.allocUnsafe(size);
    record[0] = (healthy ? flag.healthy : 0) | (external ? flag.external : 0);
    let at = 1;
    for (const [service, endpoints] of memberships) {
      at = record.writeUInt32LE(this.#names.hold(service), at);
      at = record.writeUInt32LE(endpoints.length, at);
      for (const { port, targetPort, weight, address } of endpoints) {
        const bytes = ipBytes(address) ?? [];
        at = record.writeUInt16LE(port, at);
        at = record.writeUInt16LE(targetPort, at);
        at = record.writeUInt32LE(weight, at);
        record[at] = bytes.length;
        record.set(bytes, at + 1);
        at += 1 + bytes.length;
      }
    }
    return record.subarray(0, at);
  }

  #read(id: number): Member | undefined {
    const place = this.#places.at(id);
    if (place === 0) return undefined;
    const { buffer, byteOffset, length } = this.#store.get(place);
    const record = Buffer.from(buffer, byteOffset, length);
    const memberships = new Map<string, readonly MemberEndpoint[]>();
    let at = 1;
    while (at < length) {
      const service = this.#names.text(record.readUInt32LE(at));
      const endpoints: MemberEndpoint[] = [];
      const count = record.readUInt32LE(at + 4);
      at += 8;
      for (let index = 0; index < count; index++) {
        const port = record.readUInt16LE(at);
        const targetPort = record.readUInt16LE(at + 2);
        const weight = record.readUInt32LE(at + 4);
        const end = at + endpointHead + (record[at + 8] ?? 0);
        const address = ipFromBytes(record.subarray(at + endpointHead, end)) ?? "";
        endpoints.push({ port, targetPort, address, weight });
        at = end;
      }
      memberships.set(service, endpoints);
    }
    const flags = record[0] ?? 0;
    return { memberships, healthy: (flags & flag.healthy) !== 0, external: (flags & flag.external) !== 0 };
  }
}
