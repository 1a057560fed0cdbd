/**
 * The tunnels of one group. A flow takes a slot on the least loaded tunnel that has room; when none has, a new tunnel is opened up
 * to the limit, and flows wait for whichever comes first, the new tunnel or a slot. A peer that cannot be reached fails all
 * waiters at once and is answered from memory for a while, so that nobody queues behind a dead handshake.
 */
import type { SocketAddress } from "../../model/address.ts";
import type { Identity } from "../../model/identity.ts";
import type { Reason } from "../../model/reason.ts";
import type { GroupHandle } from "../engine.ts";
import type { EngineContext } from "./context.ts";
import type { Failure } from "./opening.ts";
import { OutboundOpening } from "./outbound-tunnel.ts";
import type { Pod } from "./pod.ts";
import type { Tunnel } from "./tunnel.ts";

/** A slot is held on the tunnel until `releaseStream`. */
export type Lease = { readonly kind: "tunnel"; readonly tunnel: Tunnel } | ({ readonly kind: "failed" } & Failure);

interface Waiter {
  readonly done: (lease: Lease) => void;
  /** Runs while every tunnel is full and no more may be opened. */
  roomTimer: NodeJS.Timeout | undefined;
}

export interface PoolWatcher {
  /** A tunnel is gone. */
  changed(): void;
  /** Released, and the last tunnel is gone. */
  empty(): void;
}

export interface PoolParts {
  readonly handle: GroupHandle;
  readonly pod: Pod;
  readonly peer: SocketAddress;
  readonly expected: ReadonlySet<Identity>;
}

export class Pool {
  readonly handle: GroupHandle;
  readonly pod: Pod;
  readonly peer: SocketAddress;
  readonly expected: ReadonlySet<Identity>;
  readonly tunnels = new Set<Tunnel>();
  readonly #context: EngineContext;
  readonly #watcher: PoolWatcher;
  readonly #openings = new Set<OutboundOpening>();
  readonly #waiters = new Set<Waiter>();
  #failure: (Failure & { readonly until: number; readonly delay: number }) | undefined;
  #released = false;

  constructor(context: EngineContext, parts: PoolParts, watcher: PoolWatcher) {
    this.#context = context;
    this.#watcher = watcher;
    this.handle = parts.handle;
    this.pod = parts.pod;
    this.peer = parts.peer;
    this.expected = parts.expected;
  }

  get released(): boolean {
    return this.#released;
  }

  /** Streams open and flows waiting. */
  get load(): number {
    let load = this.#waiters.size;
    for (const tunnel of this.tunnels) load += tunnel.streams;
    return load;
  }

  /** True while the peer is answered from memory and no open tunnel says otherwise. */
  get failing(): boolean {
    return this.#backingOff() && this.#usableTunnels() === 0;
  }

  /** `done` may be called before this returns. Returns a function that gives up. */
  acquire(done: (lease: Lease) => void): () => void {
    if (this.#released) {
      done({ kind: "failed", reason: "pod-removed", detail: "the group was released" });
      return () => {};
    }
    const tunnel = this.#leastLoaded();
    if (tunnel !== undefined) {
      tunnel.holdStream();
      done({ kind: "tunnel", tunnel });
      return () => {};
    }
    const waiter: Waiter = { done, roomTimer: undefined };
    this.#waiters.add(waiter);
    this.#serve();
    return () => this.#dismiss(waiter);
  }

  /** New tunnels are needed (another credential): open ones end with their flows, unfinished ones begin again. */
  renew(): void {
    this.#failure = undefined;
    this.#abandonOpenings("no-certificate");
    for (const tunnel of this.tunnels) tunnel.drain();
    this.#serve();
  }

  /** What made the peer fail may be over: the next flow tries again. */
  forgetFailure(): void {
    this.#failure = undefined;
  }

  /** Takes no new flows; the tunnels end with their flows. */
  release(failure: Failure = { reason: "pod-removed", detail: "the group was released" }): void {
    if (this.#released) return;
    this.#released = true;
    this.#abandonOpenings(failure.reason);
    this.#failAll(failure);
    for (const tunnel of this.tunnels) tunnel.drain();
    this.#checkEmpty();
  }

  #leastLoaded(): Tunnel | undefined {
    let best: Tunnel | undefined;
    for (const tunnel of this.tunnels) {
      if (
        tunnel.takesStreams &&
        tunnel.streams < this.#capacityOf(tunnel) &&
        tunnel.streams < (best?.streams ?? Infinity)
      ) {
        best = tunnel;
      }
    }
    return best;
  }

  #capacityOf(tunnel: Tunnel): number {
    const theirs = tunnel.session.remoteSettings.maxConcurrentStreams ?? Infinity;
    return Math.min(this.#context.options.limits.flowsPerTunnel, theirs);
  }

  #usableTunnels(): number {
    let usable = 0;
    for (const tunnel of this.tunnels) if (tunnel.takesStreams) usable += 1;
    return usable;
  }

  #backingOff(): boolean {
    return this.#failure !== undefined && performance.now() < this.#failure.until;
  }

  /** Hands out slots, opens tunnels for those who got none, and fails them when neither is possible. */
  #serve(): void {
    for (const waiter of this.#waiters) {
      const tunnel = this.#leastLoaded();
      if (tunnel === undefined) break;
      this.#dismiss(waiter);
      tunnel.holdStream();
      waiter.done({ kind: "tunnel", tunnel });
    }
    if (this.#waiters.size === 0) return;
    const { limits } = this.#context.options;
    const wanted = this.#backingOff() ? 0 : Math.ceil(this.#waiters.size / limits.flowsPerTunnel);
    const mayOpen = () =>
      this.#usableTunnels() + this.#openings.size < limits.tunnelsPerGroup &&
      this.pod.outboundTunnels < limits.outboundTunnelsPerPod;
    while (this.#openings.size < wanted && mayOpen()) this.#open();
    if (this.#openings.size > 0) return;
    if (this.#usableTunnels() === 0) {
      const full = { reason: "limit-flows", detail: "the pod has as many tunnels as it may open" } as const;
      this.#failAll(this.#backingOff() && this.#failure !== undefined ? this.#failure : full);
    } else {
      for (const waiter of this.#waiters) this.#boundWait(waiter);
    }
  }

  #open(): void {
    const opening: OutboundOpening = new OutboundOpening(
      this.#context,
      { pod: this.pod, group: this.handle, peer: this.peer, expected: this.expected },
      {
        changed: () => this.#serve(),
        gone: (tunnel) => {
          this.tunnels.delete(tunnel);
          this.pod.outboundTunnels -= 1;
          this.#serve();
          this.#watcher.changed();
          this.#checkEmpty();
        },
      },
      {
        opened: (tunnel) => {
          this.#openings.delete(opening);
          this.#failure = undefined;
          this.tunnels.add(tunnel);
          this.#serve();
        },
        failed: (failure) => {
          this.#forget(opening);
          this.#remember(failure);
          this.#serve();
        },
      },
    );
    this.#openings.add(opening);
    this.pod.outboundTunnels += 1;
  }

  #forget(opening: OutboundOpening): void {
    if (this.#openings.delete(opening)) this.pod.outboundTunnels -= 1;
  }

  #abandonOpenings(reason: Reason): void {
    for (const opening of this.#openings) {
      this.#forget(opening);
      opening.abandon(reason);
    }
  }

  #remember({ reason, detail }: Failure): void {
    const { peerBackoff, peerBackoffMax } = this.#context.options.timeouts;
    const delay = Math.min(this.#failure === undefined ? peerBackoff : this.#failure.delay * 2, peerBackoffMax);
    this.#failure = { reason, detail, delay, until: performance.now() + delay };
  }

  #boundWait(waiter: Waiter): void {
    waiter.roomTimer ??= setTimeout(() => {
      this.#dismiss(waiter);
      waiter.done({ kind: "failed", reason: "limit-flows", detail: "every tunnel to the peer is full" });
    }, this.#context.options.timeouts.connectAnswer);
  }

  #failAll({ reason, detail }: Failure): void {
    for (const waiter of this.#waiters) {
      this.#dismiss(waiter);
      waiter.done({ kind: "failed", reason, detail });
    }
  }

  #dismiss(waiter: Waiter): void {
    this.#waiters.delete(waiter);
    clearTimeout(waiter.roomTimer);
  }

  #checkEmpty(): void {
    if (this.#released && this.tunnels.size === 0) this.#watcher.empty();
  }
}
