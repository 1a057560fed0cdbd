/**
 * Puts resources into the store, each for itself: one that cannot be encoded is rejected alone and told, and all others go on. Its last
 * good version stays with the clients; a policy that never had one is told as one that refuses.
 */
import { messageOf } from "../../lib/errors.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import { encodeAuthorization } from "../../xds/resources/authorization.ts";
import {
  closedPolicy,
  encodeAuthorizationPolicy,
  encodePeerAuthentication,
  type PolicyKind,
} from "../../xds/resources/policy.ts";
import type { NamedResource, ResourceType } from "../../xds/resources/resource-types.ts";
import type { ResourceStore } from "./resource-store.ts";

/** Something of the mesh that clients are not told as it is. */
export interface Untold {
  /** Type and name of the resource. */
  readonly object: string;
  readonly message: string;
}

export interface ResourceEncoderDeps {
  readonly store: ResourceStore;
  readonly log: { warn(fields: object, message: string): void };
}

export class ResourceEncoder {
  readonly #deps: ResourceEncoderDeps;
  readonly #untold = new Map<string, Untold>();

  constructor(deps: ResourceEncoderDeps) {
    this.#deps = deps;
  }

  /** What could not be encoded and is not repaired yet. */
  get untold(): readonly Untold[] {
    return [...this.#untold.values()];
  }

  /** False when it could not be encoded. */
  put(type: ResourceType, name: string, encode: () => NamedResource, node = ""): boolean {
    const encoded = this.#attempt(type, name, encode);
    if (encoded !== undefined) this.#deps.store.set(type, encoded.value, node);
    return encoded !== undefined;
  }

  drop(type: ResourceType, name: string): void {
    this.#deps.store.delete(type, name);
    this.#untold.delete(`${type} ${name}`);
  }

  /** As `put`, of a whole policy. */
  putPolicy(kind: PolicyKind, key: string, encode: () => NamedResource): void {
    const { store } = this.#deps;
    const name = `${kind}/${key}`;
    if (this.put("policy", name, encode) || store.get("policy", name) !== undefined) return;
    const closed = closedPolicy(name, unreadable);
    if (closed?.kind === "AuthorizationPolicy") store.set("policy", encodeAuthorizationPolicy(closed.policy));
    if (closed?.kind === "PeerAuthentication") store.set("policy", encodePeerAuthentication(closed.policy));
  }

  /**
   * Of a policy as Istio's clients know it; `encode` returns undefined for one that they need not know. Workloads name those that select
   * them, so an older version could hold for nobody: what cannot be encoded refuses in its namespace at once. False then, and where
   * there is nothing to know.
   */
  putAuthorization(key: string, encode: () => NamedResource | undefined, settings: MeshSettings): boolean {
    const { store } = this.#deps;
    const encoded = this.#attempt("authorization", key, encode);
    const closed = encoded === undefined ? closedPolicy(`AuthorizationPolicy/${key}`, unreadable) : undefined;
    const resource =
      closed?.kind === "AuthorizationPolicy" ? encodeAuthorization(closed.policy, settings) : encoded?.value;
    if (resource === undefined) store.delete("authorization", key);
    else store.set("authorization", resource);
    return encoded?.value !== undefined;
  }

  #attempt<T>(type: ResourceType, name: string, encode: () => T): { readonly value: T } | undefined {
    const key = `${type} ${name}`;
    try {
      const value = encode();
      this.#untold.delete(key);
      return { value };
    } catch (error) {
      const message = messageOf(error);
      if (this.#untold.get(key)?.message !== message) {
        this.#deps.log.warn({ object: key, error: message }, `clients cannot be told of ${key}: ${message}`);
      }
      this.#untold.set(key, { object: key, message });
      return undefined;
    }
  }
}

const unreadable = "the control plane cannot tell what it says";
