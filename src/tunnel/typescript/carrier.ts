/**
 * Carries out decisions: opens the far end of a flow, trying one target after the other while nothing has moved, and joins the
 * two ends.
 */
import type { Reason } from "../../model/reason.ts";
import type { CarryDecision, Decision, DialDecision, GroupHandle, HandOverDecision, PodHandle } from "../engine.ts";
import { newTraceparent } from "../wire/traceparent.ts";
import { openConnect } from "./connect-stream.ts";
import type { EngineContext } from "./context.ts";
import { dial } from "./dial.ts";
import type { Flow } from "./flow.ts";
import { HandedOver } from "./hand-over.ts";
import type { Leg } from "./leg.ts";
import type { Pod } from "./pod.ts";
import type { Pool } from "./pool.ts";
import { Relay, type RelayEnd } from "./relay.ts";
import type { Tunnel } from "./tunnel.ts";
import { weightedOrder } from "./weighted-order.ts";

export interface CarrierDeps {
  pool(group: GroupHandle): Pool | undefined;
  pod(pod: PodHandle): Pod | undefined;
  /** Bytes of the flow wait for a slow reader. */
  backlog(flow: Flow): void;
}

interface Target {
  readonly pool: Pool;
  readonly authority: string;
  readonly weight: number;
}

export class Carrier {
  readonly #context: EngineContext;
  readonly #deps: CarrierDeps;

  constructor(context: EngineContext, deps: CarrierDeps) {
    this.#context = context;
    this.#deps = deps;
  }

  /** The flow must wait for a decision. */
  carryOut(flow: Flow, decision: Decision): void {
    flow.label = decision.label;
    switch (decision.kind) {
      case "refuse":
        flow.end(decision.reason, "");
        break;
      case "carry":
        this.#carry(flow, decision);
        break;
      case "dial":
        this.#dial(flow, decision);
        break;
      case "hand-over":
        this.#handOver(flow, decision);
        break;
    }
  }

  #carry(flow: Flow, decision: CarryDecision): void {
    const targets: Target[] = [];
    for (const { group, authority, weight } of decision.targets) {
      const pool = this.#deps.pool(group);
      if (pool !== undefined) targets.push({ pool, authority, weight });
    }
    const order = weightedOrder(targets, ({ pool }) => pool.load, Math.random);
    // Peers that just failed are still tried, after the others.
    order.sort((one, other) => Number(one.pool.failing) - Number(other.pool.failing));
    this.#tryTarget(flow, decision, order, "pod-removed", "no group to carry it over");
  }

  /** `reason` and `detail` are the last target's failure: the flow's own if no target is left. */
  #tryTarget(
    flow: Flow,
    decision: CarryDecision,
    targets: readonly Target[],
    reason: Reason,
    detail: string,
    secondTry = false,
  ): void {
    const [target, ...others] = targets;
    if (target === undefined) {
      flow.end(reason, detail);
      return;
    }
    const next = (retry: "again" | "elsewhere" | "never", reason: Reason, detail: string) => {
      const again = retry === "again" && !secondTry;
      const left = again ? targets : retry === "never" ? [] : others;
      if (left.length > 0) this.#context.counters.retriesTotal += 1;
      this.#tryTarget(flow, decision, left, reason, detail, again);
    };
    let leased = false;
    const giveUp = target.pool.acquire((lease) => {
      leased = true;
      if (lease.kind === "failed") next("elsewhere", lease.reason, lease.detail);
      else this.#connect(flow, decision, target, lease.tunnel, next);
    });
    if (!leased) flow.connecting(giveUp);
  }

  #connect(
    flow: Flow,
    decision: CarryDecision,
    target: Target,
    tunnel: Tunnel,
    next: (retry: "again" | "elsewhere" | "never", reason: Reason, detail: string) => void,
  ): void {
    const { source } = flow;
    const { baggage, forwardedHost } = decision;
    const traceparent = this.#traceparent(flow);
    const request = { authority: target.authority, source, forwardedHost, baggage, traceparent };
    const cancel = openConnect(tunnel, request, this.#context.options.timeouts.connectAnswer, (result) => {
      if (result.kind === "failed") {
        next(result.retry, result.reason, result.detail);
        return;
      }
      flow.target = target.pool.peer;
      flow.rideOn(tunnel);
      this.#join(flow, result.leg, "");
    });
    flow.connecting(cancel);
  }

  /** One trace for all attempts of a flow. */
  #traceparent(flow: Flow): string {
    const { carried, share } = this.#context.options.traces;
    if (!carried) return newTraceparent("unsampled");
    if (flow.traceparent === "") flow.traceparent = newTraceparent(Math.random() < share ? "sampled" : "unsampled");
    return flow.traceparent;
  }

  #dial(flow: Flow, decision: DialDecision): void {
    const order = weightedOrder(decision.targets, () => 0, Math.random);
    this.#tryAddress(flow, decision, order, "no-endpoint", "");
  }

  #tryAddress(
    flow: Flow,
    decision: DialDecision,
    targets: DialDecision["targets"],
    reason: Reason,
    detail: string,
  ): void {
    const [target, ...others] = targets;
    if (target === undefined) {
      flow.end(reason, detail);
      return;
    }
    const from = this.#deps.pod(decision.from);
    if (from === undefined) {
      flow.end("pod-removed", "the netns to dial from is gone");
      return;
    }
    const { destination } = target;
    const { options, sockets } = this.#context;
    const request = {
      netns: from.netns,
      purpose: decision.purpose,
      mark: decision.purpose === "leave" ? from.marks.leave : from.marks.deliver,
      destination,
      // A pod that calls itself: its own address needs no transparent bind, and source and destination ports could collide.
      sourceAddress: decision.sourceAddress === destination.address ? undefined : decision.sourceAddress,
      timeoutMs: options.timeouts.connect,
      allowHalfOpen: true,
      highWaterMark: relayBuffer(this.#context),
      mayKeep: (fd: number) => !this.#context.descriptors.crowdsOut(flow.pod, fd),
    };
    const cancel = dial(sockets, request, (result) => {
      if (result.kind === "failed") {
        if (others.length > 0) this.#context.counters.retriesTotal += 1;
        this.#tryAddress(flow, decision, others, result.reason, result.detail);
        return;
      }
      flow.target = { address: destination.address, port: destination.port };
      this.#join(flow, result.leg, decision.baggage);
    });
    flow.connecting(cancel);
  }

  #handOver(flow: Flow, decision: HandOverDecision): void {
    flow.arrival.accept(decision.baggage);
    const plaintext = new HandedOver({
      leg: flow.arrival.leg,
      onEnd: (reason, detail) => flow.closed(this.#tunnelEnding(flow)?.reason ?? reason, detail),
      onBacklog: () => this.#deps.backlog(flow),
    });
    flow.opened(plaintext);
    this.#context.batch.deliver((events) => events.flowHandedOver(flow.id, plaintext));
  }

  #join(flow: Flow, far: Leg, baggage: string): void {
    flow.arrival.accept(baggage);
    const relay = new Relay(
      {
        near: flow.arrival.leg,
        far,
        onEnd: (end) => this.#relayEnded(flow, end),
        onBacklog: () => this.#deps.backlog(flow),
      },
      { buffer: relayBuffer(this.#context) },
    );
    flow.opened(relay);
  }

  #relayEnded(flow: Flow, end: RelayEnd): void {
    if (end.kind === "clean") {
      flow.closed("ok", "");
      return;
    }
    const ending = this.#tunnelEnding(flow);
    if (ending === undefined) {
      flow.closed(end.side === "near" ? "reset-by-source" : "reset-by-destination", end.detail);
    } else {
      flow.closed(ending.reason, ending.detail);
    }
  }

  /** A stream that broke because its tunnel did says nothing about the application at the other end. */
  #tunnelEnding(flow: Flow): { readonly reason: Reason; readonly detail: string } | undefined {
    return flow.tunnel?.ending;
  }
}

/** The limit per flow, shared by its two directions. */
function relayBuffer(context: EngineContext): number {
  return Math.max(1, Math.floor(context.options.limits.bufferPerFlow / 2));
}
