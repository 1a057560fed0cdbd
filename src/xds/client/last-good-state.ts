/**
 * The last good state on a disk that outlives the agent's process (a tmpfs of the node), so that an agent that starts while the control
 * plane is away has the mesh. A file that is not whole, or another node's, is no state. It holds no keys.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { z } from "zod";
import { writeAtomically } from "../../lib/atomic-file.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { Slices } from "../../lib/slices.ts";
import { DeltaDiscoveryResponseSchema, type Resource } from "../gen/envoy/service/discovery/v3/discovery_pb.ts";
import { encodeLocalPod } from "../resources/local-pod.ts";
import { encodeAuthorizationPolicy, encodePeerAuthentication } from "../resources/policy.ts";
import { type NamedResource, resourceTypes } from "../resources/resource-types.ts";
import { encodeService } from "../resources/service.ts";
import { encodeSettings } from "../resources/settings.ts";
import { encodeWorkload } from "../resources/workload.ts";
import type { DiscoveryState } from "./discovery-state.ts";
import type { AgentType } from "./mesh-assembler.ts";
import { readResponse } from "./response-reader.ts";

export interface LastGoodStateOptions {
  readonly path: string;
  readonly node: string;
}

/** The first line. Parts follow, each after its length, and at the end the SHA-256 of all before. */
const header = z.strictObject({ format: z.literal(2), node: z.string(), savedAt: z.number() });

const resourcesPerPart = 200;
const lengthBytes = 4;
const digestBytes = 32;
/** Hashed in one go, well below a millisecond. */
const hashedAtOnce = 256 * 1024;

export class LastGoodState {
  readonly #options: LastGoodStateOptions;

  constructor(options: LastGoodStateOptions) {
    this.#options = options;
  }

  async save(state: DiscoveryState, now: number): Promise<void> {
    await writeAtomically(this.#options.path, this.#pieces(state, now), 0o600);
  }

  /** The file piece by piece, as it is made: a large state is never in memory twice. */
  async *#pieces(state: DiscoveryState, now: number): AsyncIterable<Uint8Array> {
    const slices = new Slices();
    const digest = createHash("sha256");
    const head: z.output<typeof header> = { format: 2, node: this.#options.node, savedAt: now };
    const piece = (bytes: Uint8Array) => {
      digest.update(bytes);
      return bytes;
    };
    yield piece(Buffer.from(`${JSON.stringify(head)}\n`));
    for (const type of state.types) {
      let resources: Resource[] = [];
      for (const { name, bytes } of resourcesOf(type, state)) {
        const version = state.versions(type).get(name) ?? "";
        const any = { $typeName: "google.protobuf.Any" as const, typeUrl: resourceTypes[type], value: bytes };
        resources.push({ $typeName: "envoy.service.discovery.v3.Resource", name, version, aliases: [], resource: any });
        if (resources.length === resourcesPerPart) {
          yield piece(encodePart(type, resources, true));
          resources = [];
        }
        if (slices.due) await slices.rest();
      }
      yield piece(encodePart(type, resources, false));
    }
    yield digest.digest();
  }

  /** Resolves to when it was saved; undefined when there is none. Throws MESH_STATE_INVALID for a file that is not to be believed. */
  async load(state: DiscoveryState): Promise<number | undefined> {
    const file = await this.#read();
    if (file === undefined) return undefined;
    const end = file.indexOf("\n");
    const head = this.#header(file.subarray(0, Math.max(end, 0)).toString());
    if (head.node !== this.#options.node) throw this.#invalid(`is of node ${head.node}`);
    const body = file.subarray(0, Math.max(end + 1, file.length - digestBytes));
    if (!(await digestOf(body)).equals(file.subarray(body.length))) throw this.#invalid("is damaged");
    const slices = new Slices();
    for (let at = end + 1; at < body.length; ) {
      const start = at + lengthBytes;
      at = start + body.readUInt32BE(at);
      // What another version wrote and this one cannot read stands among the state's problems.
      await state.apply(readResponse(body.subarray(start, at)));
      if (slices.due) await slices.rest();
    }
    return head.savedAt;
  }

  async #read(): Promise<Buffer | undefined> {
    try {
      return await readFile(this.#options.path);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw this.#invalid(`cannot be read: ${messageOf(error)}`);
    }
  }

  #header(text: string): z.output<typeof header> {
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

function encodePart(type: AgentType, resources: Resource[], more: boolean): Uint8Array {
  const message = create(DeltaDiscoveryResponseSchema, { typeUrl: resourceTypes[type], resources, more });
  const bytes = toBinary(DeltaDiscoveryResponseSchema, message);
  const part = Buffer.allocUnsafe(lengthBytes + bytes.length);
  part.writeUInt32BE(bytes.length);
  part.set(bytes, lengthBytes);
  return part;
}

async function digestOf(bytes: Uint8Array): Promise<Buffer> {
  const slices = new Slices();
  const digest = createHash("sha256");
  for (let at = 0; at < bytes.length; at += hashedAtOnce) {
    digest.update(bytes.subarray(at, at + hashedAtOnce));
    if (slices.due) await slices.rest();
  }
  return digest.digest();
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
