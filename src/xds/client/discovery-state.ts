/**
 * What the agent holds: the mesh, the version of each resource, and what was rejected. Responses are applied in slices; a resource that
 * cannot be right is rejected alone and its last good version stays.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { messageOf } from "../../lib/errors.ts";
import { Slices } from "../../lib/slices.ts";
import { MeshIndex } from "../../mesh/mesh-index.ts";
import { PackedPolicies } from "../../mesh/packed-policies.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import { ResourceSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.ts";
import { InvalidResource, resourceTypeOf, resourceTypes } from "../resources/resource-types.ts";
import {
  type AgentType,
  agentTypes,
  type Decoded,
  type Dialect,
  decodeResource,
  MeshAssembler,
} from "./mesh-assembler.ts";
import { ResourceVersions } from "./resource-versions.ts";
import type { RawResponse } from "./response-reader.ts";

export interface DiscoveryProblem {
  /** Type and name of the resource; empty when the problem is not one resource's. */
  readonly object: string;
  readonly message: string;
}

/** Of one response, what was taken of it: enough to come to the same state again. */
export interface AcceptedChange {
  readonly type: AgentType;
  /** As they came. */
  readonly resources: readonly Uint8Array[];
  readonly removed: readonly string[];
}

interface ReadResource {
  readonly name: string;
  readonly version: string;
  readonly decoded: Decoded;
}

/** By name. */
interface Versions extends Iterable<[name: string, version: string]> {
  get(name: string): string | undefined;
  set(name: string, version: string): unknown;
  delete(name: string): unknown;
}

export class DiscoveryState {
  readonly index: MeshIndex;
  readonly dialect: Dialect;
  readonly assembler: MeshAssembler;
  readonly #versions: Readonly<Record<AgentType, Versions>>;
  readonly #rejected = new Map<string, DiscoveryProblem>();
  readonly #complete = new Set<AgentType>();
  #accepted: (change: AcceptedChange) => void = () => {};

  constructor(settings: MeshSettings, node: string, dialect: Dialect = "warren") {
    this.dialect = dialect;
    this.index = new MeshIndex(settings, { policies: new PackedPolicies() });
    this.assembler = new MeshAssembler(node, this.index.names);
    this.#versions = {
      settings: new Map(),
      policy: new ResourceVersions(this.index.names),
      authorization: new Map(),
      address: new ResourceVersions(this.index.names),
      localPod: new Map(),
    };
  }

  /** Every type was heard of to its end once. */
  get complete(): boolean {
    return this.#complete.size === this.types.length;
  }

  get types(): readonly AgentType[] {
    return agentTypes[this.dialect];
  }

  get problems(): readonly DiscoveryProblem[] {
    return [...this.#rejected.values()];
  }

  /** By name, of what is in force and not to be sent again. */
  versions(type: AgentType): Pick<Versions, "get" | typeof Symbol.iterator> {
    return this.#versions[type];
  }

  /** From here on it is told of each response, once that is in force. There is one that listens. */
  onAccepted(listener: (change: AcceptedChange) => void): void {
    this.#accepted = listener;
  }

  /** Resolves to what is wrong with the response, empty when nothing is; the rest of it is in force then. */
  async apply(response: RawResponse): Promise<string> {
    const type = agentType(this.dialect, response.typeUrl);
    const slices = new Slices();
    const good: ReadResource[] = [];
    const bad: string[] = [];
    const resources: Uint8Array[] = [];
    // Of a large response objects are made a few at a time: those that live long enough to be moved to V8's old generation fill it.
    const piecemeal = type === "address" && response.resources.length > largeResponse;
    if (piecemeal) for (const name of response.removed) this.#forget(type, name);
    for (const bytes of response.resources) {
      const read = readResource(this.dialect, type, bytes);
      if ("decoded" in read) {
        good.push(read);
        resources.push(bytes);
      } else {
        bad.push(`${read.name}: ${read.problem}`);
        // What refuses because it cannot be read does so again for whoever reads it again.
        if (this.#reject(type, read.name, read.problem)) resources.push(bytes);
      }
      if (piecemeal && good.length === stagedAtOnce) {
        for (const one of good.splice(0)) this.#stage(type, one);
        for (const delta of this.assembler.workloadDeltas()) this.index.apply(delta);
      }
      if (slices.due) await slices.rest();
    }
    // Nothing waits between here and the deltas: readers never see half of a small change.
    if (!piecemeal) for (const name of response.removed) this.#forget(type, name);
    for (const one of good) {
      this.#stage(type, one);
      if (slices.due && good.length > largeResponse) await slices.rest();
    }
    for (const delta of this.assembler.deltas()) {
      this.index.apply(delta);
      if (slices.due) await slices.rest();
    }
    if (!response.more) this.#complete.add(type);
    this.#accepted({ type, resources, removed: response.removed });
    return bad.slice(0, longestList).join("; ");
  }

  #stage(type: AgentType, { name, version, decoded }: ReadResource): void {
    this.assembler.stage(name, decoded);
    this.#versions[type].set(name, version);
    this.#rejected.delete(`${type} ${name}`);
  }

  #forget(type: AgentType, name: string): void {
    this.assembler.remove(type, name);
    this.#versions[type].delete(name);
    this.#rejected.delete(`${type} ${name}`);
  }

  /** True when it stands for something all the same. */
  #reject(type: AgentType, name: string, problem: string): boolean {
    // Without a version it is sent again when we come back.
    this.#versions[type].delete(name);
    this.#rejected.set(`${type} ${name}`, { object: `${type} ${name}`, message: problem });
    return this.assembler.stageRejected(type, name, problem);
  }
}

/** A change of this many resources cannot take effect at once without stopping the agent. */
const largeResponse = 250;
/** Resources of it that are objects at a time. */
const stagedAtOnce = 25;

/** Rejections named in one answer. */
const longestList = 20;

function agentType(dialect: Dialect, url: string): AgentType {
  const type = resourceTypeOf(url);
  const known = agentTypes[dialect].find((one) => one === type);
  if (known === undefined) throw new InvalidResource(`a response of ${JSON.stringify(url)}, which was not asked for`);
  return known;
}

function readResource(
  dialect: Dialect,
  type: AgentType,
  bytes: Uint8Array,
): ReadResource | { name: string; problem: string } {
  let name = "";
  try {
    const message = fromBinary(ResourceSchema, bytes);
    name = message.name;
    if (message.resource?.typeUrl !== resourceTypes[type]) throw new InvalidResource("its content is of another type");
    return { name, version: message.version, decoded: decodeResource(dialect, type, name, message.resource.value) };
  } catch (error) {
    return { name, problem: messageOf(error) };
  }
}
