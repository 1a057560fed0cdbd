/** All resources as they are sent, encoded once for every stream, and whom to tell when some of them change. */
import { hash } from "node:crypto";
import { type NamedResource, type ResourceType, resourceTypes } from "../../xds/resources/resource-types.ts";
import { type StoredResource, StoredResources, versionBytes } from "./stored-resources.ts";

export type { StoredResource } from "./stored-resources.ts";

/** Names that changed, by type. */
export type StoreChange = ReadonlyMap<ResourceType, ReadonlySet<string>>;

/** Which resources of a type stand behind others, as workloads do behind Services: who asks for one of those wants them too. */
export interface Behind {
  /** Names of the resources behind this one. */
  members(name: string): Iterable<string>;
  /** Names of the resources that this one is behind. */
  owners(name: string): Iterable<string>;
}

const noneBehind: Behind = { members: () => [], owners: () => [] };

const allTypes = Object.keys(resourceTypes) as ResourceType[];

interface TypeResources {
  readonly resources: StoredResources;
  /** Names of the resources by their other names: of one alone as a text, as it is with nearly all. */
  readonly aliases: Map<string, string | Set<string>>;
  changed: Set<string>;
  behind: Behind;
}

export class ResourceStore {
  readonly #types: ReadonlyMap<ResourceType, TypeResources>;
  readonly #listeners = new Set<(change: StoreChange) => void>();

  constructor() {
    this.#types = new Map(
      allTypes.map((type) => {
        const resources = new StoredResources(resourceTypes[type]);
        const [aliases, changed] = [new Map<string, string | Set<string>>(), new Set<string>()];
        return [type, { resources, aliases, changed, behind: noneBehind }];
      }),
    );
  }

  all(type: ResourceType): Pick<StoredResources, "size" | "names" | "values"> {
    return this.#of(type).resources;
  }

  /** Of this type, from now on. */
  relate(type: ResourceType, behind: Behind): void {
    this.#of(type).behind = behind;
  }

  behind(type: ResourceType): Behind {
    return this.#of(type).behind;
  }

  get(type: ResourceType, name: string): StoredResource | undefined {
    return this.#of(type).resources.get(name);
  }

  /** Names of the resources that a name or an alias means. */
  *named(type: ResourceType, text: string): Iterable<string> {
    const { resources, aliases } = this.#of(type);
    if (resources.has(text)) yield text;
    const known = aliases.get(text);
    if (typeof known === "string") yield known;
    else if (known !== undefined) yield* known;
  }

  set(type: ResourceType, resource: NamedResource, node = ""): void {
    const { name, aliases, bytes } = resource;
    const of = this.#of(type);
    const version = hash("sha256", bytes, "buffer").subarray(0, versionBytes);
    if (of.resources.is(name, version, node)) return;
    unalias(of, name);
    of.resources.set(resource, version, node);
    for (const alias of aliases) {
      const known = of.aliases.get(alias);
      if (known === undefined || known === name) of.aliases.set(alias, name);
      else if (typeof known === "string") of.aliases.set(alias, new Set([known, name]));
      else known.add(name);
    }
    of.changed.add(name);
  }

  delete(type: ResourceType, name: string): void {
    const of = this.#of(type);
    if (!of.resources.has(name)) return;
    unalias(of, name);
    of.resources.delete(name);
    of.changed.add(name);
  }

  /** Tells what changed of these types since it was told last. */
  flush(types: readonly ResourceType[] = allTypes): void {
    const change = new Map<ResourceType, Set<string>>();
    for (const type of types) {
      const of = this.#of(type);
      if (of.changed.size === 0) continue;
      change.set(type, of.changed);
      of.changed = new Set();
    }
    if (change.size === 0) return;
    for (const listener of this.#listeners) listener(change);
  }

  onChange(listener: (change: StoreChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #of(type: ResourceType): TypeResources {
    const of = this.#types.get(type);
    if (of === undefined) throw new RangeError(`there is no type ${type}`);
    return of;
  }
}

function unalias({ resources, aliases }: TypeResources, name: string): void {
  for (const alias of resources.get(name)?.aliases ?? []) {
    const known = aliases.get(alias);
    if (known === name) aliases.delete(alias);
    else if (known instanceof Set && known.delete(name) && known.size === 0) aliases.delete(alias);
  }
}
