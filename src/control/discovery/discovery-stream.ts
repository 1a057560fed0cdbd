/** One client's stream: its subscriptions, what is on its way, and how the client took what it was sent. */
import type { Clock } from "../../lib/clock.ts";
import type { DeltaDiscoveryRequest } from "../../xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { chunkedKey, type ResourceType, resourceTypeOf, resourceTypes } from "../../xds/resources/resource-types.ts";
import type { ResourceStore, StoreChange } from "./resource-store.ts";
import { encodeResponse, type ResponseParts } from "./response-codec.ts";
import { type Batch, Subscription } from "./subscription.ts";

export interface DiscoveryStreamDeps {
  readonly store: ResourceStore;
  readonly clock: Clock;
  readonly metrics: { discoveryResponse(): void; discoveryRejected(): void };
  readonly log: { warn(fields: object, message: string): void };
  readonly send: (response: Buffer) => void;
  /** Called with what went wrong while nobody waited for an answer. */
  readonly failed: (error: unknown) => void;
}

export interface DiscoveryStreamOptions {
  /** Proven by the client's credentials. */
  readonly node: string;
  readonly peer: string;
  readonly chunkBytes: number;
}

export interface TypeStatus {
  readonly wildcard: boolean;
  readonly names: number;
  readonly resources: number;
  readonly pending: number;
  readonly acknowledged: number;
  readonly rejected: number;
  /** Milliseconds that the response on its way has waited for an answer; 0 when none is. */
  readonly unansweredMs: number;
  readonly lastRejection: string;
  /** Milliseconds since then; absent without one. */
  readonly rejectedMs?: number;
}

export interface ClientStatus {
  readonly node: string;
  readonly peer: string;
  /** What the client calls itself. */
  readonly id: string;
  /** Takes responses in parts: an agent of ours, which tells of its state itself. */
  readonly agent: boolean;
  readonly connectedMs: number;
  readonly types: Readonly<Partial<Record<ResourceType, TypeStatus>>>;
}

interface TypeState {
  readonly subscription: Subscription;
  /** What the next response is being put together from, over several turns of the loop. */
  gathered: { readonly frames: Map<string, Uint8Array>; readonly removed: Set<string> } | undefined;
  outstanding: { readonly nonce: string; readonly at: number } | undefined;
  acknowledged: number;
  rejected: number;
  lastRejection: string;
  rejectedAt: number | undefined;
}

/** Settings and policy first: what they forbid is known when the workloads come, which wait for them. */
const rules = ["settings", "policy", "authorization"] as const satisfies readonly ResourceType[];
const others = ["address", "localPod"] as const satisfies readonly ResourceType[];

/** How a node's proxy of Istio's says in its metadata where it runs. Which node it is told of, its credentials say. */
const nodeNameKey = "NODE_NAME";
/** Istio's node ids begin with the kind of proxy. */
const ztunnelId = "ztunnel~";

/** A stranger's text in logs and listings. */
const longestText = 1000;

export class DiscoveryStream {
  readonly #deps: DiscoveryStreamDeps;
  readonly #options: DiscoveryStreamOptions;
  readonly #types = new Map<ResourceType, TypeState>();
  readonly #connectedAt: number;
  #id = "";
  #chunked = false;
  /** Names its node, as a node's proxy does. */
  #nodeProxy = false;
  #nonce = 0;
  #next: NodeJS.Immediate | undefined;

  constructor(deps: DiscoveryStreamDeps, options: DiscoveryStreamOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#connectedAt = deps.clock.now();
  }

  /** What is wrong with the request, if anything is. */
  request(request: DeltaDiscoveryRequest): string | undefined {
    const { store } = this.#deps;
    if (request.node !== undefined) {
      this.#id = request.node.id.slice(0, longestText);
      this.#chunked = request.node.metadata?.[chunkedKey] === true;
      this.#nodeProxy = Boolean(request.node.metadata?.[nodeNameKey]);
    }
    const type = resourceTypeOf(request.typeUrl);
    if (type === undefined) return `there is no type ${JSON.stringify(request.typeUrl.slice(0, longestText))} here`;
    let state = this.#types.get(type);
    if (state === undefined) {
      const client = { node: this.#options.node, nodeProxy: this.#nodeProxy, ztunnel: this.#id.startsWith(ztunnelId) };
      const subscription = new Subscription(store, type, client);
      const none = { gathered: undefined, outstanding: undefined };
      state = { subscription, ...none, acknowledged: 0, rejected: 0, lastRejection: "", rejectedAt: undefined };
      this.#types.set(type, state);
      state.subscription.request(request);
    } else if (namesSomething(request) || request.responseNonce === "") {
      state.subscription.request(request);
    }
    this.#answered(type, state, request);
    this.#pump();
    return undefined;
  }

  changed(changes: readonly StoreChange[]): void {
    for (const change of changes) {
      for (const [type, names] of change) this.#types.get(type)?.subscription.changed(names);
    }
    this.#pump();
  }

  /** Nothing is sent any more. */
  close(): void {
    clearImmediate(this.#next);
    this.#types.clear();
  }

  status(): ClientStatus {
    const now = this.#deps.clock.now();
    const types = [...this.#types].map(([type, state]): [ResourceType, TypeStatus] => {
      const { subscription, outstanding, acknowledged, rejected, lastRejection, rejectedAt } = state;
      const unansweredMs = outstanding === undefined ? 0 : now - outstanding.at;
      const ago = rejectedAt === undefined ? {} : { rejectedMs: now - rejectedAt };
      return [type, { ...subscription.status, acknowledged, rejected, unansweredMs, lastRejection, ...ago }];
    });
    const { node, peer } = this.#options;
    const connectedMs = now - this.#connectedAt;
    return { node, peer, id: this.#id, agent: this.#chunked, connectedMs, types: Object.fromEntries(types) };
  }

  /** A nonce that is not the last one's answers something that was overtaken, and means nothing any more. */
  #answered(type: ResourceType, state: TypeState, { responseNonce, errorDetail }: DeltaDiscoveryRequest): void {
    if (responseNonce === "" || responseNonce !== state.outstanding?.nonce) return;
    state.outstanding = undefined;
    if (errorDetail === undefined) {
      state.acknowledged++;
      return;
    }
    state.rejected++;
    state.rejectedAt = this.#deps.clock.now();
    state.lastRejection = errorDetail.message.slice(0, longestText);
    const { node, peer } = this.#options;
    this.#deps.metrics.discoveryRejected();
    this.#deps.log.warn({ node, peer, type, why: state.lastRejection }, "a client rejected resources");
  }

  #pump(): void {
    let rulesWait = false;
    for (const type of rules) {
      const state = this.#types.get(type);
      if (state === undefined) continue;
      this.#sendNext(type, state);
      rulesWait ||= state.gathered !== undefined || state.subscription.waiting;
    }
    for (const type of others) {
      const state = this.#types.get(type);
      if (state !== undefined && !(type === "address" && rulesWait)) this.#sendNext(type, state);
    }
  }

  #goOnLater(): void {
    this.#next ??= setImmediate(() => this.#goOn());
  }

  #goOn(): void {
    this.#next = undefined;
    try {
      this.#pump();
    } catch (error) {
      this.#deps.failed(error);
    }
  }

  #sendNext(type: ResourceType, state: TypeState): void {
    if (state.outstanding !== undefined) return;
    const batch = state.subscription.take(this.#options.chunkBytes);
    if (batch === undefined && state.gathered === undefined) return;
    if (this.#chunked && batch !== undefined) {
      const { frames, removed, more } = batch;
      if (more && frames.size + removed.length === 0) this.#goOnLater();
      else this.#send(type, state, { frames: frames.values(), removed, more });
      return;
    }
    // To others a first response that is not all there is would be the whole mesh: it is one, and made in slices.
    const { frames, removed } = gather(state.gathered, batch);
    if (batch?.more === true) {
      state.gathered = { frames, removed };
      this.#goOnLater();
      return;
    }
    state.gathered = undefined;
    this.#send(type, state, { frames: frames.values(), removed: [...removed], more: false });
  }

  #send(type: ResourceType, state: TypeState, parts: Pick<ResponseParts, "frames" | "removed" | "more">): void {
    const { clock, metrics, send } = this.#deps;
    const nonce = String(++this.#nonce);
    state.outstanding = { nonce, at: clock.now() };
    metrics.discoveryResponse();
    const version = new Date(clock.now()).toISOString();
    send(encodeResponse({ typeUrl: resourceTypes[type], nonce, version, ...parts }));
  }
}

/** A resource that changed while the response was made is in it once, as it is now. */
function gather(before: TypeState["gathered"], batch: Batch | undefined): NonNullable<TypeState["gathered"]> {
  const { frames, removed } = before ?? { frames: new Map<string, Uint8Array>(), removed: new Set<string>() };
  for (const name of batch?.removed ?? []) {
    frames.delete(name);
    removed.add(name);
  }
  for (const [name, frame] of batch?.frames ?? []) {
    // What is stored moves when it changes, and the response goes out later.
    frames.set(name, frame.slice());
    removed.delete(name);
  }
  return { frames, removed };
}

function namesSomething(request: DeltaDiscoveryRequest): boolean {
  return request.resourceNamesSubscribe.length + request.resourceNamesUnsubscribe.length > 0;
}
