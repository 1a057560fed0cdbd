/**
 * What one stream wants of one type and what it has: a pure state machine between requests, changes of the store and responses. Names
 * that changed are kept, not contents, so a client that is slow to answer gets the last state of each and no history.
 */
import type { DeltaDiscoveryRequest } from "../../xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { ResourceType } from "../../xds/resources/resource-types.ts";
import type { ResourceStore, StoredResource } from "./resource-store.ts";

export interface Batch {
  readonly frames: readonly Uint8Array[];
  readonly removed: readonly string[];
  readonly more: boolean;
}

type Wants = Pick<
  DeltaDiscoveryRequest,
  "resourceNamesSubscribe" | "resourceNamesUnsubscribe" | "initialResourceVersions" | "more"
>;

const wildcard = "*";

export class Subscription {
  readonly #store: ResourceStore;
  readonly #type: ResourceType;
  readonly #node: string;
  #begun = false;
  /** The first request goes on: nothing is sent before it is whole. */
  #listening = false;
  #wildcard = false;
  /** Names and aliases asked for one by one. */
  readonly #names = new Set<string>();
  /** Version of each resource that the client has, as far as we know. */
  readonly #sent = new Map<string, string>();
  /** Resources to look at before the next response. */
  readonly #pending = new Set<string>();
  /** Asked for and unknown: the client waits for some answer. */
  readonly #unknown = new Set<string>();
  /** An answer is owed even if it is empty. */
  #owes = false;

  constructor(store: ResourceStore, type: ResourceType, node: string) {
    this.#store = store;
    this.#type = type;
    this.#node = node;
  }

  get status(): { wildcard: boolean; names: number; resources: number; pending: number } {
    const { size: names } = this.#names;
    return { wildcard: this.#wildcard, names, resources: this.#sent.size, pending: this.#pending.size };
  }

  request(request: Wants): void {
    const { resourceNamesSubscribe: subscribe, resourceNamesUnsubscribe: unsubscribe } = request;
    const first = !this.#begun || this.#listening;
    if (first) {
      for (const [name, version] of Object.entries(request.initialResourceVersions)) this.#sent.set(name, version);
      this.#listening = request.more;
    }
    // A first request that names nothing asks for everything.
    if (!this.#begun && subscribe.length + unsubscribe.length === 0) this.#subscribe(wildcard, first);
    this.#begun = true;
    for (const name of subscribe) this.#subscribe(name, first);
    for (const name of unsubscribe) this.#unsubscribe(name);
    if (first) for (const name of this.#sent.keys()) this.#pending.add(name);
  }

  changed(names: ReadonlySet<string>): void {
    for (const name of names) if (this.#sent.has(name) || this.#allowed(name) !== undefined) this.#pending.add(name);
  }

  /** The next response, of about `limit` bytes at most; undefined when there is nothing to say. */
  take(limit: number): Batch | undefined {
    if (this.#listening) return undefined;
    const frames: Uint8Array[] = [];
    const removed = [...this.#unknown];
    this.#unknown.clear();
    let bytes = 0;
    for (const name of this.#pending) {
      if (bytes >= limit) break;
      this.#pending.delete(name);
      const resource = this.#allowed(name);
      if (resource === undefined) {
        if (!this.#sent.delete(name)) continue;
        removed.push(name);
        bytes += name.length;
      } else if (this.#sent.get(name) !== resource.version) {
        this.#sent.set(name, resource.version);
        frames.push(resource.frame);
        bytes += resource.frame.length;
      }
    }
    if (frames.length + removed.length === 0 && !this.#owes) return undefined;
    this.#owes = false;
    return { frames, removed, more: this.#pending.size > 0 };
  }

  #subscribe(name: string, first: boolean): void {
    this.#owes = true;
    if (name === wildcard) {
      this.#wildcard = true;
      for (const known of this.#store.all(this.#type).keys()) this.#pending.add(known);
      return;
    }
    this.#names.add(name);
    let found = false;
    for (const known of this.#store.named(this.#type, name)) {
      if (this.#allowed(known) === undefined) continue;
      found = true;
      this.#pending.add(known);
      // Who asks again later wants to be told again.
      if (!first) this.#sent.delete(known);
    }
    if (!found) this.#unknown.add(name);
  }

  #unsubscribe(name: string): void {
    if (name === wildcard) this.#wildcard = false;
    this.#names.delete(name);
    this.#unknown.delete(name);
    // The client drops what it no longer asks for by itself.
    for (const known of this.#sent.keys()) {
      const resource = this.#store.get(this.#type, known);
      if (resource !== undefined && !this.#wanted(resource)) this.#sent.delete(known);
    }
  }

  /** The resource, if there is one that this stream wants and may have. */
  #allowed(name: string): StoredResource | undefined {
    const resource = this.#store.get(this.#type, name);
    if (resource === undefined || (resource.node !== "" && resource.node !== this.#node)) return undefined;
    return this.#wanted(resource) ? resource : undefined;
  }

  #wanted({ name, aliases }: StoredResource): boolean {
    return this.#wildcard || this.#names.has(name) || aliases.some((alias) => this.#names.has(alias));
  }
}
