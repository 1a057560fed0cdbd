/**
 * What one stream wants of one type and what it has: a pure state machine between requests, changes of the store and responses. Names
 * that changed are kept, not contents, so a client that is slow to answer gets the last state of each and no history. A client that
 * wants everything has everything but what waits for it: of such, who are as many as the cluster has nodes, no name is kept.
 */
import type { DeltaDiscoveryRequest } from "../../xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { ResourceType } from "../../xds/resources/resource-types.ts";
import type { ResourceStore, StoredResource } from "./resource-store.ts";
import { underName } from "./stored-resources.ts";

export interface SubscribedClient {
  /** Proven by its credentials. */
  readonly node: string;
  /** Without asking it is told of its node's workloads, as istiod does: it has to know whom it serves before it can ask for anybody. */
  readonly nodeProxy?: boolean;
  /**
   * What it asked for it awaits under the very name that it asked by, and knows no aliases. It asks anew whenever it misses something, and
   * names nothing again when it comes back but what it says that it has.
   */
  readonly ztunnel?: boolean;
}

export interface Batch {
  /** By name of their resource, or the name that a ztunnel asked for it by. */
  readonly frames: ReadonlyMap<string, Uint8Array>;
  readonly removed: readonly string[];
  readonly more: boolean;
}

type Wants = Pick<
  DeltaDiscoveryRequest,
  "resourceNamesSubscribe" | "resourceNamesUnsubscribe" | "initialResourceVersions" | "more"
>;

const wildcard = "*";

/** Resources looked at for one batch: a client that comes back has most of them, and to find that out takes time too. */
const mostLooked = 2000;

export class Subscription {
  readonly #store: ResourceStore;
  readonly #type: ResourceType;
  readonly #client: SubscribedClient;
  #begun = false;
  /** The first request goes on: nothing is sent before it is whole. */
  #listening = false;
  #wildcard = false;
  /** Names and aliases asked for one by one. */
  readonly #names = new Set<string>();
  /** What the client said that it has, by name, until everything has been looked at once. */
  #initial = new Map<string, string>();
  /** Everything there is, as far as it was not looked at yet; resources that come meanwhile are at its end. */
  #all: Iterator<string> | undefined;
  /** Version of each resource that the client has, where it does not have everything. */
  readonly #sent = new Map<string, string>();
  /** Resources to look at before the next response. */
  readonly #pending = new Set<string>();
  /** Names that the client waits for some answer to. */
  readonly #unanswered = new Set<string>();
  /** An answer is owed even if it is empty. */
  #owes = false;

  constructor(store: ResourceStore, type: ResourceType, client: SubscribedClient) {
    this.#store = store;
    this.#type = type;
    this.#client = client;
  }

  get status(): { wildcard: boolean; names: number; resources: number; pending: number } {
    const { size: names } = this.#names;
    const pending = this.#pending.size;
    const told = this.#all === undefined ? Math.max(0, this.#store.all(this.#type).size - pending) : 0;
    return { wildcard: this.#wildcard, names, resources: this.#everything ? told : this.#sent.size, pending };
  }

  /** There may be something to say. */
  get waiting(): boolean {
    return this.#owes || this.#listening || this.#pending.size + this.#unanswered.size > 0 || this.#all !== undefined;
  }

  request(request: Wants): void {
    const { resourceNamesSubscribe: subscribe, resourceNamesUnsubscribe: unsubscribe } = request;
    const first = !this.#begun || this.#listening;
    if (first) {
      for (const [name, version] of Object.entries(request.initialResourceVersions)) this.#initial.set(name, version);
      this.#listening = request.more;
    }
    // A first request that names nothing asks for everything.
    if (!this.#begun && subscribe.length + unsubscribe.length === 0) this.#subscribe(wildcard, first);
    this.#begun = true;
    for (const name of subscribe) this.#subscribe(name, first);
    // Everything, and at once no more of it: so a client asks for nothing yet, which without a name would be everything.
    for (const name of unsubscribe) this.#unsubscribe(name);
    if (!first || this.#listening) return;
    this.#compareHeld();
    if (this.#ownNode) this.#all = this.#store.all(this.#type).names();
  }

  changed(names: ReadonlySet<string>): void {
    for (const name of names) {
      if (this.#everything || this.#sent.has(name)) this.#pending.add(name);
      // What was asked for before it came: it comes with what is behind it.
      else if (this.#allowed(name) !== undefined) for (const each of this.#with(name)) this.#pending.add(each);
    }
  }

  /**
   * The next response, of about `limit` bytes at most; undefined when there is nothing to say. One that is empty and says `more` is none:
   * nothing was found so far.
   */
  take(limit: number): Batch | undefined {
    if (this.#listening) return undefined;
    const frames = new Map<string, Uint8Array>();
    const removed = new Set<string>();
    let bytes = 0;
    let looked = 0;
    for (const name of this.#waiting()) {
      looked += 1;
      const resource = this.#allowed(name);
      if (resource === undefined) {
        if (this.#forget(name)) {
          removed.add(name);
          bytes += name.length;
        }
      } else if (this.#remember(resource)) {
        frames.set(name, resource.frame);
        bytes += resource.frame.length;
      }
      if (bytes >= limit || looked >= mostLooked) break;
    }
    const more = this.#pending.size > 0 || this.#all !== undefined;
    if (!more) for (const name of this.#unanswered) this.#answer(name, frames, removed);
    const batch = { frames, removed: [...removed], more };
    if (frames.size + removed.size === 0 && (more || !this.#owes)) return more ? batch : undefined;
    // Who was told that more follows waits for it, should nothing be left that is worth a word.
    this.#owes = more;
    return batch;
  }

  /** Under the name that was asked for. What it means is in this response or was in one before. */
  #answer(name: string, frames: Map<string, Uint8Array>, removed: Set<string>): void {
    this.#unanswered.delete(name);
    const resource = this.#found(name);
    if (resource === undefined) {
      removed.add(name);
      // Any pod can make its ztunnel ask for any address: what is not there is not kept for who asks again.
      if (this.#client.ztunnel === true) this.#names.delete(name);
    } else if (this.#client.ztunnel === true && resource.name !== name) {
      frames.set(name, underName(resource.frame, name));
    }
  }

  /** Names to look at, each taken off as it is given. */
  *#waiting(): Iterable<string> {
    for (const name of this.#pending) {
      this.#pending.delete(name);
      yield name;
    }
    while (this.#all !== undefined) {
      const { value, done } = this.#all.next();
      if (done === true) {
        this.#all = undefined;
        // The client has it, and there is no such thing any more.
        for (const name of this.#initial.keys()) this.#pending.add(name);
        this.#initial = new Map();
        yield* this.#waiting();
      } else {
        yield value;
      }
    }
  }

  /** False when the client has this version. */
  #remember({ name, version }: StoredResource): boolean {
    const had = this.#sent.get(name) ?? this.#initial.get(name);
    this.#initial.delete(name);
    if (!this.#everything) this.#sent.set(name, version);
    return had !== version;
  }

  /** True if the client has the resource, or may have it. */
  #forget(name: string): boolean {
    const said = this.#initial.delete(name);
    // That something is gone which it never had does no harm.
    return this.#sent.delete(name) || said || this.#everything;
  }

  /** It is told of its node's workloads, because it does not hear of all. */
  get #ownNode(): boolean {
    return this.#client.nodeProxy === true && this.#type === "address" && !this.#wildcard;
  }

  /** It has whatever is there and does not wait. Not so where each node has its own: no node is told of another's, nor of its end. */
  get #everything(): boolean {
    return this.#wildcard && this.#type !== "localPod";
  }

  /** What the client has and should not: the rest is compared when its turn comes. */
  #compareHeld(): void {
    if (this.#everything) return;
    if (this.#client.ztunnel === true && !this.#wildcard) this.#askForHeld();
    for (const [name, version] of this.#initial) {
      if (this.#allowed(name) === undefined) this.#pending.add(name);
      this.#sent.set(name, version);
    }
    if (this.#wildcard) return;
    for (const name of this.#sent.keys()) this.#pending.add(name);
    this.#initial = new Map();
  }

  /** It goes on wanting what it has, and what it waited for when its last stream ended: that may be any of its other names. */
  #askForHeld(): void {
    for (const name of this.#initial.keys()) {
      this.#subscribe(name, true);
      if (this.#store.get(this.#type, name) === undefined) this.#initial.delete(name);
    }
  }

  #subscribe(name: string, first: boolean): void {
    this.#owes = true;
    if (name === wildcard) {
      this.#wildcard = true;
      if (this.#everything) this.#sent.clear();
      this.#all = this.#store.all(this.#type).names();
      return;
    }
    this.#names.add(name);
    this.#unanswered.add(name);
    for (const known of this.#meant(name)) {
      if (this.#allowed(known) === undefined) continue;
      this.#pending.add(known);
      // Who asks again later wants to be told again, also that it is gone.
      if (!first && this.#sent.has(known)) this.#sent.set(known, "");
    }
  }

  #unsubscribe(name: string): void {
    if (name === wildcard && this.#wildcard) this.#leaveWildcard();
    this.#names.delete(name);
    this.#unanswered.delete(name);
    // The client drops what it no longer asks for by itself.
    for (const known of this.#sent.keys()) {
      const resource = this.#store.get(this.#type, known);
      if (resource !== undefined && !this.#wanted(resource)) this.#sent.delete(known);
    }
  }

  /** What it goes on asking for it has, but what waits. */
  #leaveWildcard(): void {
    const reached = this.#all === undefined;
    this.#wildcard = false;
    this.#all = this.#ownNode ? this.#store.all(this.#type).names() : undefined;
    for (const name of this.#initial.keys())
      if (this.#store.get(this.#type, name) === undefined) this.#pending.add(name);
    for (const name of this.#names) {
      for (const known of this.#meant(name)) {
        const resource = this.#allowed(known);
        if (resource === undefined) continue;
        if (reached && !this.#pending.has(known)) this.#sent.set(known, resource.version);
        else this.#pending.add(known);
      }
    }
  }

  /** The resource, if there is one that this stream wants and may have. */
  #allowed(name: string): StoredResource | undefined {
    const resource = this.#store.get(this.#type, name);
    if (resource === undefined) return undefined;
    if (this.#type === "localPod" && resource.node !== "" && resource.node !== this.#client.node) return undefined;
    return this.#wanted(resource) ? resource : undefined;
  }

  #wanted(resource: StoredResource): boolean {
    if (this.#wildcard || (this.#ownNode && resource.node === this.#client.node)) return true;
    if (this.#asked(resource)) return true;
    if (this.#names.size === 0) return false;
    for (const owner of this.#store.behind(this.#type).owners(resource.name)) {
      const known = this.#store.get(this.#type, owner);
      if (known !== undefined && this.#asked(known)) return true;
    }
    return false;
  }

  #asked({ name, aliases }: Pick<StoredResource, "name" | "aliases">): boolean {
    return this.#names.has(name) || aliases.some((alias) => this.#names.has(alias));
  }

  /** What a name means itself, without what is behind it. */
  #found(name: string): StoredResource | undefined {
    for (const known of this.#store.named(this.#type, name)) {
      const resource = this.#allowed(known);
      if (resource !== undefined) return resource;
    }
    return undefined;
  }

  /** Names of all that a name asks for: a Service is no use without its endpoints. */
  *#meant(name: string): Iterable<string> {
    for (const known of this.#store.named(this.#type, name)) yield* this.#with(known);
  }

  *#with(name: string): Iterable<string> {
    yield name;
    yield* this.#store.behind(this.#type).members(name);
  }
}
