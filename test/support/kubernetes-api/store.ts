/**
 * Objects with versions, as etcd and the watch cache give them: every write has the next resource version, a bounded history can be
 * watched from any version in it, and a list is cut into pages of one snapshot.
 */
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { ApiFailure, conflict, expired, notFound } from "./failure.ts";
import type { ApiObject } from "./objects.ts";
import type { Resource } from "./resources.ts";

export interface StoredEvent {
  readonly version: number;
  readonly resource: Resource;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: ApiObject;
  /** What the object was before; undefined when it was not. */
  readonly before: ApiObject | undefined;
}

interface Snapshot {
  readonly version: number;
  readonly rest: readonly ApiObject[];
}

export class Store {
  /** By resource, then `namespace/name`. */
  readonly #objects = new Map<Resource, Map<string, ApiObject>>();
  readonly #listeners = new Set<(event: StoredEvent) => void>();
  readonly #snapshots = new Map<string, Snapshot>();
  readonly #historyLimit: number;
  #history: StoredEvent[] = [];
  #version = 1;
  /** Nothing up to here can be watched any more. */
  #compacted = 0;

  /** `historyLimit`: writes that a watch may lie behind. */
  constructor(historyLimit = 10_000) {
    this.#historyLimit = historyLimit;
  }

  get version(): number {
    return this.#version;
  }

  get(resource: Resource, namespace: string, name: string): ApiObject | undefined {
    return this.#objects.get(resource)?.get(`${namespace}/${name}`);
  }

  require(resource: Resource, namespace: string, name: string): ApiObject {
    const found = this.get(resource, namespace, name);
    if (found === undefined) throw notFound(resource, name);
    return found;
  }

  all(resource: Resource): ApiObject[] {
    const byKey = this.#objects.get(resource) ?? new Map<string, ApiObject>();
    return [...byKey].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, object]) => object);
  }

  create(resource: Resource, draft: ApiObject): ApiObject {
    const { namespace = "", generateName } = draft.metadata;
    if (generateName !== undefined && !isNamePrefix(generateName)) {
      throw new ApiFailure(
        422,
        "Invalid",
        `metadata.generateName: Invalid value: "${generateName}": a lowercase RFC 1123 subdomain`,
      );
    }
    const name = draft.metadata.name || `${generateName ?? ""}${randomUUID().slice(0, 5)}`;
    if (this.get(resource, namespace, name) !== undefined) {
      throw new ApiFailure(409, "AlreadyExists", `${resource.plural} "${name}" already exists`);
    }
    const object: ApiObject = {
      ...structuredClone(draft),
      metadata: {
        ...structuredClone(draft.metadata),
        name,
        uid: draft.metadata.uid ?? randomUUID(),
        generation: 1,
        // Real ones have whole seconds.
        creationTimestamp: draft.metadata.creationTimestamp ?? `${new Date().toISOString().slice(0, 19)}Z`,
      },
    };
    return this.#write(resource, "ADDED", object, undefined);
  }

  /** `next` replaces what is there; a resource version in it must be the present one. */
  update(resource: Resource, next: ApiObject, part: "object" | "status"): ApiObject {
    const { namespace = "", name, resourceVersion } = next.metadata;
    const before = this.require(resource, namespace, name);
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
      throw conflict(resource, name);
    }
    if (next.metadata.uid !== undefined && next.metadata.uid !== before.metadata.uid) throw conflict(resource, name);
    const { uid, creationTimestamp, generation = 1 } = before.metadata;
    const whole: ApiObject =
      part === "status"
        ? { ...before, status: next["status"] }
        : resource.status
          ? { ...next, status: before["status"] }
          : { ...next };
    if (whole["status"] === undefined) delete whole["status"];
    const specChanged = !isDeepStrictEqual(before["spec"], whole["spec"]);
    const metadata = {
      ...(part === "status" ? before.metadata : next.metadata),
      ...(uid === undefined ? {} : { uid }),
      ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
      generation: specChanged ? generation + 1 : generation,
      ...(before.metadata.resourceVersion === undefined ? {} : { resourceVersion: before.metadata.resourceVersion }),
    };
    const object = structuredClone({ ...whole, metadata });
    // A write that changes nothing is none: no version, no event.
    if (isDeepStrictEqual(object, before)) return before;
    return this.#write(resource, "MODIFIED", object, before);
  }

  delete(
    resource: Resource,
    namespace: string,
    name: string,
    preconditions: { uid?: string; resourceVersion?: string } = {},
  ): ApiObject {
    const before = this.require(resource, namespace, name);
    const { uid, resourceVersion } = preconditions;
    if (uid !== undefined && uid !== before.metadata.uid) throw conflict(resource, name);
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
      throw conflict(resource, name);
    }
    return this.#write(resource, "DELETED", before, before);
  }

  /** One page. Later pages show what was there when the first was asked for. */
  page(
    resource: Resource,
    matches: (object: ApiObject) => boolean,
    limit: number,
    token: string | undefined,
  ): {
    readonly version: number;
    readonly items: readonly ApiObject[];
    readonly next: string | undefined;
    readonly left: number;
  } {
    const known = token === undefined ? undefined : this.#snapshots.get(token);
    if (token !== undefined && known === undefined) {
      throw expired("The provided continue parameter is too old to display a consistent list result.");
    }
    const { version, rest } = known ?? { version: this.#version, rest: this.all(resource).filter(matches) };
    if (limit === 0 || rest.length <= limit) return { version, items: rest, next: undefined, left: 0 };
    const next = randomUUID();
    this.#snapshots.set(next, { version, rest: rest.slice(limit) });
    return { version, items: rest.slice(0, limit), next, left: rest.length - limit };
  }

  /** What happened after `version`; throws 410 when that is not known any more. */
  since(version: number): readonly StoredEvent[] {
    if (version < this.#compacted) throw expired(`too old resource version: ${version} (${this.#compacted + 1})`);
    return this.#history.filter((event) => event.version > version);
  }

  /** Forgets the history and the snapshots, as etcd does every five minutes. */
  compact(): void {
    this.#compacted = this.#version;
    this.#history = [];
    this.#snapshots.clear();
  }

  onEvent(listener: (event: StoredEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Writes elsewhere in the cluster: the version moves on and nobody here sees why. */
  skipVersions(count: number): void {
    this.#version += count;
  }

  #write(resource: Resource, type: StoredEvent["type"], object: ApiObject, before: ApiObject | undefined): ApiObject {
    this.#version += 1;
    const stored: ApiObject = {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(this.#version) },
    };
    const { namespace = "", name } = stored.metadata;
    const byKey = this.#objects.get(resource) ?? new Map<string, ApiObject>();
    this.#objects.set(resource, byKey);
    if (type === "DELETED") byKey.delete(`${namespace}/${name}`);
    else byKey.set(`${namespace}/${name}`, stored);
    const event = { version: this.#version, resource, type, object: stored, before };
    this.#history.push(event);
    const tooOld = this.#history.length - this.#historyLimit;
    if (tooOld > 0) this.#compacted = this.#history[tooOld - 1]?.version ?? this.#compacted;
    // Many at once: to move all the others for each would cost more than the write.
    if (tooOld > this.#historyLimit) this.#history = this.#history.slice(tooOld);
    for (const listener of this.#listeners) listener(event);
    return stored;
  }
}

/** Of a generated name: a dash at its end is no fault, because something follows. */
function isNamePrefix(text: string): boolean {
  const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
  return new RegExp(`^${label}(\\.${label})*$`).test(text.replace(/-$/, "-a"));
}
