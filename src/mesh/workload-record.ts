/**
 * A workload as two dozen bytes: flags, its addresses, and the numbers of values that many workloads share: where it runs (as many as
 * there are nodes), what it is (as many as there are Deployments), its labels, its name where its uid does not say it. A pod without
 * an owner is its own, and that takes a flag.
 */
import { ipBytes, ipFromBytes } from "../lib/ip.ts";
import { ValuePool } from "../lib/value-pool.ts";
import type { Workload, WorkloadUid } from "../model/workload.ts";

type Own = "uid" | "name" | "addresses" | "hostNetwork" | "labels" | "tunnel" | "ready";
type Named = Pick<Workload, "owner" | "canonicalName">;
type Placement = Pick<Workload, "node" | "cluster" | "locality" | "hostAddresses">;
/** All the rest, whatever the model gets. */
type Kind = Omit<Workload, Own | keyof Placement>;

/** What makes a key that two equal values share, whatever the order of their fields. */
type Plain = string | number | boolean | undefined | readonly Plain[] | { readonly [key: string]: Plain };

const flag = { hostNetwork: 1, hbone: 2, ready: 4, namedByUid: 8, ownsItself: 16, canonicalOwn: 32 } as const;

const nameAt = 1;
const placementAt = 5;
const kindAt = 9;
const labelsAt = 13;
const addressesAt = 17;
/** Marks an address that isn't in canonical form and is kept as text. */
const asText = 0;
/** An address and the byte before it. */
const longestAddress = 17;

export class WorkloadRecords {
  readonly #texts = new ValuePool<string>();
  readonly #placements = new ValuePool<Placement>();
  readonly #kinds = new ValuePool<Kind>();
  readonly #labels = new ValuePool<Workload["labels"]>();

  /** Holds the shared values anew, also when the bytes turn out to be those that are there already: then release them. */
  encode(workload: Workload): Uint8Array {
    const { uid, name, addresses, hostNetwork, labels, tunnel, ready, ...shared } = workload;
    const { node, cluster, locality, hostAddresses, ...common } = shared;
    const namedByUid = uid.endsWith(`/${name}`);
    const ownsItself = common.owner.name === name;
    const canonicalOwn = common.canonicalName === name;
    const kind: Kind = {
      ...common,
      owner: { kind: common.owner.kind, name: ownsItself ? "" : common.owner.name },
      canonicalName: canonicalOwn ? "" : common.canonicalName,
    };
    const record = Buffer.allocUnsafe(addressesAt + addresses.length * longestAddress);
    record[0] =
      (hostNetwork ? flag.hostNetwork : 0) |
      (tunnel === "hbone" ? flag.hbone : 0) |
      (ready ? flag.ready : 0) |
      (namedByUid ? flag.namedByUid : 0) |
      (ownsItself ? flag.ownsItself : 0) |
      (canonicalOwn ? flag.canonicalOwn : 0);
    record.writeUInt32LE(this.#text(namedByUid ? "" : name), nameAt);
    const placement: Placement = {
      node,
      cluster,
      ...(locality === undefined ? {} : { locality }),
      ...(hostAddresses === undefined ? {} : { hostAddresses }),
    };
    const where = [node, cluster, locality?.region, locality?.zone, hostAddresses];
    record.writeUInt32LE(
      this.#placements.hold(JSON.stringify(where), () => placement),
      placementAt,
    );
    record.writeUInt32LE(
      this.#kinds.hold(keyOf(kind), () => kind),
      kindAt,
    );
    record.writeUInt32LE(
      this.#labels.hold(keyOf(Object.fromEntries(labels)), () => labels),
      labelsAt,
    );
    let at = addressesAt;
    for (const address of addresses) at = this.#writeAddress(record, at, address);
    return record.subarray(0, at);
  }

  decode(uid: WorkloadUid, record: Uint8Array): Workload {
    const bytes = asBuffer(record);
    const flags = bytes[0] ?? 0;
    const named = (flags & flag.namedByUid) === 0;
    const name = named ? this.#texts.get(bytes.readUInt32LE(nameAt)) : uid.slice(uid.lastIndexOf("/") + 1);
    const kind = this.#kinds.get(bytes.readUInt32LE(kindAt));
    return {
      uid,
      name,
      ...kind,
      ...namedAs(name, flags, kind),
      ...this.#placements.get(bytes.readUInt32LE(placementAt)),
      addresses: this.addresses(record),
      hostNetwork: (flags & flag.hostNetwork) !== 0,
      labels: this.#labels.get(bytes.readUInt32LE(labelsAt)),
      tunnel: this.enrolled(record) ? "hbone" : "none",
      ready: (flags & flag.ready) !== 0,
    };
  }

  enrolled(record: Uint8Array): boolean {
    return ((record[0] ?? 0) & flag.hbone) !== 0;
  }

  namespace(record: Uint8Array): string {
    return this.#kinds.get(asBuffer(record).readUInt32LE(kindAt)).namespace;
  }

  addresses(record: Uint8Array): string[] {
    return Array.from(this.#addressesIn(record), ({ text }) => text);
  }

  release(record: Uint8Array): void {
    const bytes = asBuffer(record);
    this.#texts.release(bytes.readUInt32LE(nameAt));
    this.#placements.release(bytes.readUInt32LE(placementAt));
    this.#kinds.release(bytes.readUInt32LE(kindAt));
    this.#labels.release(bytes.readUInt32LE(labelsAt));
    for (const { held } of this.#addressesIn(record)) if (held !== undefined) this.#texts.release(held);
  }

  #text(text: string): number {
    return this.#texts.hold(text, () => text);
  }

  #writeAddress(record: Buffer, at: number, address: string): number {
    const bytes = ipBytes(address);
    if (bytes !== undefined && ipFromBytes(bytes) === address) {
      record[at] = bytes.length;
      record.set(bytes, at + 1);
      return at + 1 + bytes.length;
    }
    record[at] = asText;
    return record.writeUInt32LE(this.#text(address), at + 1);
  }

  *#addressesIn(record: Uint8Array): Iterable<{ readonly text: string; readonly held: number | undefined }> {
    for (let at = addressesAt; at < record.length; ) {
      const length = record[at] ?? 0;
      at++;
      if (length === asText) {
        const held = asBuffer(record).readUInt32LE(at);
        yield { text: this.#texts.get(held), held };
        at += 4;
      } else {
        yield { text: ipFromBytes(record.subarray(at, at + length)) ?? "", held: undefined };
        at += length;
      }
    }
  }
}

/** What goes by the workload's own name. */
function namedAs(name: string, flags: number, { owner, canonicalName }: Named): Named {
  return {
    owner: (flags & flag.ownsItself) === 0 ? owner : { kind: owner.kind, name },
    canonicalName: (flags & flag.canonicalOwn) === 0 ? canonicalName : name,
  };
}

function keyOf(fields: { readonly [key: string]: Plain }): string {
  return JSON.stringify(Object.entries(fields).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** The same memory. */
function asBuffer({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
