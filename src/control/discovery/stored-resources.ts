/**
 * The resources of one type as streams send them, each encoded once, as bytes outside JavaScript's heap: there are more of them than of
 * anything else in control, and a collector has nothing to do with them. A record is its version, the node that it is of, and the field
 * of a response that holds it, in which its other names stand.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ByteStore, largestRecord } from "../../lib/byte-store.ts";
import { ValuePool } from "../../lib/value-pool.ts";
import type { NamedResource } from "../../xds/resources/resource-types.ts";

export interface StoredResource {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Of the content: replicas and restarts agree on it, so a returning client is sent nothing that it has. */
  readonly version: string;
  /** The field of a response that holds the resource: a view, good until the resource is changed or gone. */
  readonly frame: Uint8Array;
  /** The node that it is of: where a workload runs, or who alone may have a pod's resource. Empty where it is of none. */
  readonly node: string;
}

/** Of a DeltaDiscoveryResponse, of the Resource in it, and of the Any in that. */
const resourcesField = 2;
const resourceFields = { version: 1, resource: 2, name: 3, aliases: 4 } as const;
const anyFields = { typeUrl: 1, value: 2 } as const;

/** A version is told as base64url of its first bytes. */
export const versionBytes = 12;
const frameAt = versionBytes + 4;

export class StoredResources {
  readonly #typeUrl: Buffer;
  readonly #store = new ByteStore();
  readonly #nodes = new ValuePool<string>();
  /** In the order in which resources came. A place in the store, or below zero that of one which is too long for it. */
  readonly #places = new Map<string, number>();
  readonly #long = new Map<number, Uint8Array>();
  #nextLong = -1;

  constructor(typeUrl: string) {
    this.#typeUrl = Buffer.from(typeUrl);
  }

  get size(): number {
    return this.#places.size;
  }

  /** Goes on with what comes meanwhile. */
  names(): IterableIterator<string> {
    return this.#places.keys();
  }

  *values(): Iterable<StoredResource> {
    for (const [name, place] of this.#places) yield this.#read(name, place);
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  get(name: string): StoredResource | undefined {
    const place = this.#places.get(name);
    return place === undefined ? undefined : this.#read(name, place);
  }

  /** Undefined for one that isn't there. */
  nodeOf(name: string): string | undefined {
    const place = this.#places.get(name);
    return place === undefined ? undefined : this.#nodeIn(this.#record(place));
  }

  /** True if it is there, in this version, of this node. */
  is(name: string, version: Uint8Array, node: string): boolean {
    const place = this.#places.get(name);
    if (place === undefined) return false;
    const record = this.#record(place);
    return Buffer.compare(record.subarray(0, versionBytes), version) === 0 && this.#nodeIn(record) === node;
  }

  /** `version` has as many bytes as versions have. */
  set({ name, aliases, bytes }: NamedResource, version: Uint8Array, node: string): void {
    const record = this.#encode(name, aliases, bytes, version);
    record.writeUInt32LE(
      this.#nodes.hold(node, () => node),
      versionBytes,
    );
    this.#release(name);
    this.#places.set(name, this.#put(record));
  }

  delete(name: string): boolean {
    this.#release(name);
    return this.#places.delete(name);
  }

  #put(record: Uint8Array): number {
    if (record.length <= largestRecord) return this.#store.put(record);
    const place = this.#nextLong--;
    this.#long.set(place, record);
    return place;
  }

  #release(name: string): void {
    const place = this.#places.get(name);
    if (place === undefined) return;
    this.#nodes.release(asBuffer(this.#record(place)).readUInt32LE(versionBytes));
    if (place < 0) this.#long.delete(place);
    else this.#store.free(place);
  }

  #record(place: number): Uint8Array {
    return (place < 0 ? this.#long.get(place) : undefined) ?? this.#store.get(place);
  }

  #nodeIn(record: Uint8Array): string {
    return this.#nodes.get(asBuffer(record).readUInt32LE(versionBytes));
  }

  #read(name: string, place: number): StoredResource {
    return new View(name, this.#record(place), this.#nodes);
  }

  /** Written at once: with messages of messages it would be copied four times. */
  #encode(name: string, aliases: readonly string[], value: Uint8Array, version: Uint8Array): Buffer {
    const text = Buffer.from(version).toString("base64url");
    const any = fieldLength(this.#typeUrl.length) + fieldLength(value.length);
    const nameLength = Buffer.byteLength(name);
    let resource = fieldLength(text.length) + fieldLength(any) + fieldLength(nameLength);
    for (const alias of aliases) resource += fieldLength(Buffer.byteLength(alias));
    const record = Buffer.allocUnsafe(frameAt + fieldLength(resource));
    record.set(version);
    let at = writeHead(record, frameAt, resourcesField, resource);
    at = writeHead(record, at, resourceFields.version, text.length);
    at += record.write(text, at, "latin1");
    at = writeHead(record, at, resourceFields.resource, any);
    at = writeHead(record, at, anyFields.typeUrl, this.#typeUrl.length);
    record.set(this.#typeUrl, at);
    at = writeHead(record, at + this.#typeUrl.length, anyFields.value, value.length);
    record.set(value, at);
    at = writeHead(record, at + value.length, resourceFields.name, nameLength);
    at += record.write(name, at);
    for (const alias of aliases) {
      at = writeHead(record, at, resourceFields.aliases, Buffer.byteLength(alias));
      at += record.write(alias, at);
    }
    return record;
  }
}

/** The same resource under another name: of a field that stands twice in a message the last one counts (Protocol Buffers, "Last One Wins"). */
export function underName(frame: Uint8Array, name: string): Uint8Array {
  const reader = new BinaryReader(frame);
  reader.tag();
  const length = reader.uint32();
  const nameLength = Buffer.byteLength(name);
  const longer = length + fieldLength(nameLength);
  const renamed = Buffer.allocUnsafe(fieldLength(longer));
  let at = writeHead(renamed, 0, resourcesField, longer);
  renamed.set(frame.subarray(reader.pos), at);
  at = writeHead(renamed, at + length, resourceFields.name, nameLength);
  renamed.write(name, at);
  return renamed;
}

/** Most who ask for a resource want one or two of its parts. */
class View implements StoredResource {
  readonly name: string;
  readonly #record: Uint8Array;
  readonly #nodes: ValuePool<string>;

  constructor(name: string, record: Uint8Array, nodes: ValuePool<string>) {
    this.name = name;
    this.#record = record;
    this.#nodes = nodes;
  }

  get version(): string {
    return asBuffer(this.#record).toString("base64url", 0, versionBytes);
  }

  get frame(): Uint8Array {
    return this.#record.subarray(frameAt);
  }

  get node(): string {
    return this.#nodes.get(asBuffer(this.#record).readUInt32LE(versionBytes));
  }

  get aliases(): readonly string[] {
    const reader = new BinaryReader(this.frame);
    reader.tag();
    const end = reader.uint32() + reader.pos;
    const aliases: string[] = [];
    while (reader.pos < end) {
      const [field, type] = reader.tag();
      if (field === resourceFields.aliases) aliases.push(reader.string());
      else reader.skip(type, field);
    }
    return aliases;
  }
}

/** Of a length-delimited field with a number below 16. */
function fieldLength(length: number): number {
  return 1 + varintLength(length) + length;
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value >>> 7; rest !== 0; rest >>>= 7) length++;
  return length;
}

/** Tag and length. Returns where the content goes. */
function writeHead(buffer: Buffer, at: number, field: number, length: number): number {
  let next = at;
  buffer[next++] = (field << 3) | WireType.LengthDelimited;
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) buffer[next++] = (rest & 0x7f) | 0x80;
  buffer[next++] = rest;
  return next;
}

/** The same memory. */
function asBuffer({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}
