/**
 * The last good state on a disk that outlives the agent's process (a tmpfs of the node), so that an agent that starts while the control
 * plane is away has the mesh. The file begins with the whole state; each change is appended as it came. A file that is not whole, or
 * another node's, is no state. It holds no keys.
 */
import { createHash, randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { z } from "zod";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { Slices } from "../../lib/slices.ts";
import { DeltaDiscoveryResponseSchema, ResourceSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.ts";
import { encodeLocalPod } from "../resources/local-pod.ts";
import { encodeAuthorizationPolicy, encodePeerAuthentication } from "../resources/policy.ts";
import { type NamedResource, resourceTypes } from "../resources/resource-types.ts";
import { encodeService } from "../resources/service.ts";
import { encodeSettings } from "../resources/settings.ts";
import { encodeWorkload } from "../resources/workload.ts";
import type { AcceptedChange, DiscoveryState } from "./discovery-state.ts";
import type { AgentType } from "./mesh-assembler.ts";
import { readResponse } from "./response-reader.ts";

export interface LastGoodStateOptions {
  readonly path: string;
  readonly node: string;
}

/** The first line. Parts follow. */
const header = z.strictObject({ format: z.literal(3), node: z.string() });
const longestHeader = 4096;

/** Of a part: its length and when it was written. A SHA-256 over the one before and this part follows it. */
const lengthBytes = 4;
const headBytes = lengthBytes + 8;
const digestBytes = 32;
/** Of the whole state; some resources more or less. */
const partBytes = 32 * 1024;

/** What is appended is written anew with the rest when it is longer than that, and than this. */
const leastGrowth = 2 ** 20;

interface Written {
  readonly file: FileHandle;
  readonly inode: number;
  /** Bytes of the whole state, and of all that was appended to it. */
  readonly whole: number;
  appended: number;
  /** Digest of the last part. */
  digest: Buffer;
}

export class LastGoodState {
  readonly #options: LastGoodStateOptions;
  #written: Written | undefined;

  constructor(options: LastGoodStateOptions) {
    this.#options = options;
  }

  /** Changes can be appended. False before the first whole state, after a failure, and when what was appended is longer than that. */
  get appendable(): boolean {
    if (this.#written === undefined) return false;
    const { whole, appended } = this.#written;
    return appended <= Math.max(whole, leastGrowth);
  }

  /** All of it, in place of what is there. Whoever appends to that still does so to a file without a name. */
  async save(state: DiscoveryState, now: number): Promise<void> {
    const { path, node } = this.#options;
    const draft = `${path}.${randomUUID()}`;
    await mkdir(dirname(path), { recursive: true });
    const file = await open(draft, "wx", 0o600);
    try {
      const head: z.output<typeof header> = { format: 3, node };
      const line = Buffer.from(`${JSON.stringify(head)}\n`);
      let digest = digestOf(line);
      let whole = line.length;
      await file.appendFile(line);
      for await (const payload of wholeState(state)) {
        const part = partOf(payload, now, digest);
        digest = part.subarray(-digestBytes);
        whole += part.length;
        await file.appendFile(part);
      }
      await rename(draft, path);
      await this.close();
      this.#written = { file, inode: (await file.stat()).ino, whole, appended: 0, digest };
    } catch (error) {
      await file.close();
      await rm(draft, { force: true });
      throw error;
    }
  }

  /** False when the file is no longer the one with the name: another agent of this node wrote its own, or somebody removed it. */
  async append(changes: readonly AcceptedChange[], now: number): Promise<boolean> {
    const written = this.#written;
    if (written === undefined) return false;
    try {
      if ((await inodeAt(this.#options.path)) !== written.inode) {
        await this.close();
        return false;
      }
      for (const change of changes) {
        const part = partOf(encodeResponse(change, false), now, written.digest);
        written.digest = part.subarray(-digestBytes);
        written.appended += part.length;
        await written.file.appendFile(part);
      }
      return true;
    } catch (error) {
      // What was written last may not be whole, and nothing may follow it.
      await this.close();
      throw error;
    }
  }

  /** Nothing is appended from here on. */
  async close(): Promise<void> {
    const written = this.#written;
    this.#written = undefined;
    await written?.file.close();
  }

  /** Resolves to when it was saved; undefined when there is none. Throws MESH_STATE_INVALID for a file that is not to be believed. */
  async load(state: DiscoveryState): Promise<number | undefined> {
    const file = await this.#open();
    if (file === undefined) return undefined;
    try {
      // Nothing is put in force before all of it was looked at.
      const { savedAt, end, heard } = await this.#check(file);
      if (!state.types.every((type) => heard.has(resourceTypes[type]))) throw this.#invalid("is damaged");
      const slices = new Slices();
      for await (const { payload } of this.#parts(file, end)) {
        // What another version wrote and this one cannot read stands among the state's problems.
        await state.apply(readResponse(payload));
        if (slices.due) await slices.rest();
      }
      return savedAt;
    } finally {
      await file.close();
    }
  }

  async #check(file: FileHandle): Promise<{ savedAt: number; end: number; heard: ReadonlySet<string> }> {
    const heard = new Set<string>();
    let [savedAt, end] = [0, 0];
    const slices = new Slices();
    for await (const part of this.#parts(file, (await file.stat()).size)) {
      ({ savedAt, end } = part);
      const { typeUrl, more } = readResponse(part.payload);
      if (!more) heard.add(typeUrl);
      if (slices.due) await slices.rest();
    }
    return { savedAt, end, heard };
  }

  /** Parts up to this place. One that ends beyond it was being written when the agent ended: the state is what stands before it. */
  async *#parts(file: FileHandle, end: number): AsyncIterable<{ payload: Buffer; savedAt: number; end: number }> {
    const line = await this.#header(file);
    let digest = digestOf(line);
    for (let at = line.length; at + headBytes + digestBytes <= end; ) {
      const length = (await readAt(file, at, headBytes)).readUInt32BE(0);
      const size = headBytes + length + digestBytes;
      if (at + size > end) return;
      const part = await readAt(file, at, size);
      const payload = part.subarray(headBytes, -digestBytes);
      digest = digestOf(digest, part.subarray(0, -digestBytes));
      if (!digest.equals(part.subarray(-digestBytes))) throw this.#invalid("is damaged");
      at += size;
      yield { payload, savedAt: part.readDoubleBE(lengthBytes), end: at };
    }
  }

  async #open(): Promise<FileHandle | undefined> {
    try {
      return await open(this.#options.path, "r");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw this.#invalid(`cannot be read: ${messageOf(error)}`);
    }
  }

  /** The line, with its end. */
  async #header(file: FileHandle): Promise<Buffer> {
    const start = await readAt(file, 0, longestHeader);
    const line = start.subarray(0, start.indexOf("\n") + 1);
    const { node } = this.#readHeader(line.toString());
    if (node !== this.#options.node) throw this.#invalid(`is of node ${node}`);
    return line;
  }

  #readHeader(text: string): z.output<typeof header> {
    try {
      return header.parse(JSON.parse(text));
    } catch {
      throw this.#invalid("does not begin as such a file does");
    }
  }

  #invalid(what: string): MeshError {
    return new MeshError("MESH_STATE_INVALID", `the last good state in ${this.#options.path} ${what}; it is not used`);
  }
}

/** As responses, a part at a time: a large state is never in memory twice. */
async function* wholeState(state: DiscoveryState): AsyncIterable<Uint8Array> {
  const slices = new Slices();
  for (const type of state.types) {
    let frames: Uint8Array[] = [];
    let bytes = 0;
    for (const resource of resourcesOf(type, state)) {
      const frame = encodeFrame(type, resource, state.versions(type).get(resource.name) ?? "");
      frames.push(frame);
      bytes += frame.length;
      if (bytes > partBytes) {
        yield encodeResponse({ type, resources: frames, removed: [] }, true);
        frames = [];
        bytes = 0;
      }
      if (slices.due) await slices.rest();
    }
    yield encodeResponse({ type, resources: frames, removed: [] }, false);
  }
}

function encodeFrame(type: AgentType, { name, bytes }: NamedResource, version: string): Uint8Array {
  const resource = { $typeName: "google.protobuf.Any" as const, typeUrl: resourceTypes[type], value: bytes };
  return toBinary(ResourceSchema, create(ResourceSchema, { name, version, resource }));
}

const response = DeltaDiscoveryResponseSchema.field;

/** With the resources' own bytes: nothing is decoded for it. */
function encodeResponse({ type, resources, removed }: AcceptedChange, more: boolean): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(response.typeUrl.number, WireType.LengthDelimited).string(resourceTypes[type]);
  for (const bytes of resources) writer.tag(response.resources.number, WireType.LengthDelimited).bytes(bytes);
  for (const name of removed) writer.tag(response.removedResources.number, WireType.LengthDelimited).string(name);
  if (more) writer.tag(response.more.number, WireType.Varint).bool(more);
  return writer.finish();
}

function partOf(payload: Uint8Array, now: number, before: Uint8Array): Buffer {
  const part = Buffer.allocUnsafe(headBytes + payload.length + digestBytes);
  part.writeUInt32BE(payload.length);
  part.writeDoubleBE(now, lengthBytes);
  part.set(payload, headBytes);
  part.set(digestOf(before, part.subarray(0, -digestBytes)), headBytes + payload.length);
  return part;
}

function digestOf(...pieces: readonly Uint8Array[]): Buffer {
  const digest = createHash("sha256");
  for (const piece of pieces) digest.update(piece);
  return digest.digest();
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

async function inodeAt(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.ino;
}

function* resourcesOf(type: AgentType, { index, assembler }: DiscoveryState): Iterable<NamedResource> {
  switch (type) {
    case "settings":
      yield encodeSettings(index.settings);
      return;
    case "policy":
      for (const policy of index.authorizationPolicies()) yield encodeAuthorizationPolicy(policy);
      for (const policy of index.peerAuthentications()) yield encodePeerAuthentication(policy);
      return;
    case "authorization":
      for (const [name, bytes] of assembler.authorizations()) yield { name, bytes, aliases: [] };
      return;
    case "address":
      for (const workload of index.workloads()) yield encodeWorkload(workload, assembler.memberships(workload.uid));
      for (const [name, bytes] of assembler.external()) yield { name, bytes, aliases: [] };
      for (const service of index.services()) yield encodeService(service);
      return;
    case "localPod":
      for (const pod of index.localPods(assembler.node)) yield encodeLocalPod(pod);
  }
}
