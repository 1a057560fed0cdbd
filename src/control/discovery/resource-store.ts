/** All resources as they are sent, encoded once for every stream, and whom to tell when some of them change. */
import { hash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { ResourceSchema } from "../../xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { type NamedResource, type ResourceType, resourceTypes } from "../../xds/resources/resource-types.ts";
import { responseField } from "./response-codec.ts";

export interface StoredResource {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Of the content: replicas and restarts agree on it, so a returning client is sent nothing that it has. */
  readonly version: string;
  /** The field of a response that holds the resource. */
  readonly frame: Uint8Array;
  /** The one node that may have it; empty for everybody's. */
  readonly node: string;
}

/** Names that changed, by type. */
export type StoreChange = ReadonlyMap<ResourceType, ReadonlySet<string>>;

const resourcesField = 2;
const allTypes = Object.keys(resourceTypes) as ResourceType[];

export class ResourceStore {
  readonly #types = new Map<ResourceType, Map<string, StoredResource>>();
  readonly #aliases = new Map<ResourceType, Map<string, Set<string>>>();
  readonly #listeners = new Set<(change: StoreChange) => void>();
  readonly #changed = new Map<ResourceType, Set<string>>();

  all(type: ResourceType): ReadonlyMap<string, StoredResource> {
    return this.#types.get(type) ?? new Map<string, StoredResource>();
  }

  get(type: ResourceType, name: string): StoredResource | undefined {
    return this.#types.get(type)?.get(name);
  }

  /** Names of the resources that a name or an alias means. */
  *named(type: ResourceType, text: string): Iterable<string> {
    if (this.get(type, text) !== undefined) yield text;
    yield* this.#aliases.get(type)?.get(text) ?? [];
  }

  set(type: ResourceType, resource: NamedResource, node = ""): void {
    const { name, aliases, bytes } = resource;
    const before = this.get(type, name);
    const version = hash("sha256", bytes, "base64url").slice(0, 16);
    if (before?.version === version && before.node === node) return;
    const any = create(AnySchema, { typeUrl: resourceTypes[type], value: bytes });
    const message = create(ResourceSchema, { name, version, resource: any, aliases: [...aliases] });
    const frame = responseField(resourcesField, toBinary(ResourceSchema, message));
    this.#unalias(type, before);
    const resources = this.#types.get(type) ?? new Map<string, StoredResource>();
    this.#types.set(type, resources.set(name, { name, aliases, version, frame, node }));
    const known = this.#aliases.get(type) ?? new Map<string, Set<string>>();
    this.#aliases.set(type, known);
    for (const alias of aliases) known.set(alias, (known.get(alias) ?? new Set()).add(name));
    this.#touch(type, name);
  }

  delete(type: ResourceType, name: string): void {
    const before = this.get(type, name);
    if (before === undefined) return;
    this.#unalias(type, before);
    this.#types.get(type)?.delete(name);
    this.#touch(type, name);
  }

  /** Tells what changed of these types since it was told last. */
  flush(types: readonly ResourceType[] = allTypes): void {
    const change = new Map<ResourceType, Set<string>>();
    for (const type of types) {
      const names = this.#changed.get(type);
      if (names !== undefined) change.set(type, names);
      this.#changed.delete(type);
    }
    if (change.size === 0) return;
    for (const listener of this.#listeners) listener(change);
  }

  onChange(listener: (change: StoreChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #unalias(type: ResourceType, resource: StoredResource | undefined): void {
    const known = this.#aliases.get(type);
    for (const alias of resource?.aliases ?? []) {
      const names = known?.get(alias);
      names?.delete(resource?.name ?? "");
      if (names?.size === 0) known?.delete(alias);
    }
  }

  #touch(type: ResourceType, name: string): void {
    this.#changed.set(type, (this.#changed.get(type) ?? new Set()).add(name));
  }
}
