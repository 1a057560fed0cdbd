/** All Services, by name, by virtual address and by the pods behind them. */
import { isDeepStrictEqual } from "node:util";
import { Recent } from "../lib/recent.ts";
import type { Service, ServiceEndpoint } from "../model/service.ts";
import type { WorkloadUid } from "../model/workload.ts";
import { AddressBook } from "./address-book.ts";
import type { NameTable } from "./name-table.ts";
import { PackedService, type ServiceEntry } from "./packed-service.ts";

/** `namespace/hostname`. */
export function serviceKey(service: Pick<Service, "namespace" | "hostname">): string {
  return `${service.namespace}/${service.hostname}`;
}

/** Lists of endpoints kept of what was asked for: the Services that one node's pods talk to. */
const keptLists = 512;

interface KeptList {
  readonly of: PackedService;
  readonly endpoints: readonly ServiceEndpoint[] | undefined;
}

export class ServiceTable {
  readonly #names: NameTable;
  readonly #services = new Map<string, PackedService>();
  // The API server allots virtual IPs once; the first claimant keeps a disputed one.
  readonly #addresses = new AddressBook<PackedService>(() => false);
  /** Keys of the Services that a pod stands behind, one or several, by the number of its name. */
  readonly #behind: (string | readonly string[] | undefined)[] = [];
  readonly #lists = new Recent<string, KeptList>(keptLists);

  constructor(names: NameTable) {
    this.#names = names;
  }

  get size(): number {
    return this.#services.size;
  }

  get(key: string): PackedService | undefined {
    return this.#services.get(key);
  }

  byAddress(ip: string): Service | undefined {
    return this.#addresses.owner(ip)?.service;
  }

  *values(): Iterable<Service> {
    for (const { service } of this.#services.values()) yield service;
  }

  endpoints(key: string, port: number): readonly ServiceEndpoint[] | undefined {
    const of = this.#services.get(key);
    if (of === undefined) return undefined;
    const name = `${key} ${port}`;
    const kept = this.#lists.get(name);
    if (kept?.of === of) return kept.endpoints;
    const endpoints = of.endpoints(port);
    this.#lists.set(name, { of, endpoints });
    return endpoints;
  }

  *behind(workload: WorkloadUid): Iterable<Service> {
    const id = this.#names.find(workload);
    for (const key of id === -1 ? [] : keysOf(this.#behind[id])) {
      const packed = this.#services.get(key);
      if (packed !== undefined) yield packed.service;
    }
  }

  /** Undefined when it is what was there; else the pods that came to or left it. */
  set(entry: ServiceEntry): readonly WorkloadUid[] | undefined {
    const key = serviceKey(entry.service);
    const before = this.#services.get(key);
    const after = new PackedService(entry, this.#names);
    if (before?.sameMembers(after) === true && isDeepStrictEqual(before.service, after.service)) {
      after.release();
      return undefined;
    }
    if (before !== undefined) this.#addresses.release(before.service.addresses, before);
    this.#services.set(key, after);
    this.#addresses.claim(after.service.addresses, after);
    return this.#moved(key, before, after);
  }

  /** Undefined when it wasn't there; else the pods that were behind it. */
  delete(key: string): readonly WorkloadUid[] | undefined {
    const before = this.#services.get(key);
    if (before === undefined) return undefined;
    this.#addresses.release(before.service.addresses, before);
    this.#services.delete(key);
    return this.#moved(key, before, undefined);
  }

  #moved(key: string, before: PackedService | undefined, after: PackedService | undefined): WorkloadUid[] {
    const was = new Set(before?.memberIds);
    const is = new Set(after?.memberIds);
    const moved: WorkloadUid[] = [];
    for (const id of is) {
      if (was.has(id)) continue;
      const keys = keysOf(this.#behind[id]);
      this.#behind[id] = keys.length === 0 ? key : [...keys, key];
      moved.push(this.#names.text(id) as WorkloadUid);
    }
    for (const id of was) {
      if (is.has(id)) continue;
      const keys = keysOf(this.#behind[id]).filter((other) => other !== key);
      this.#behind[id] = keys.length === 0 ? undefined : keys;
      moved.push(this.#names.text(id) as WorkloadUid);
    }
    // Last: until here the names that only it held are needed.
    before?.release();
    return moved;
  }
}

function keysOf(behind: string | readonly string[] | undefined): readonly string[] {
  if (behind === undefined) return [];
  return typeof behind === "string" ? [behind] : behind;
}
