/**
 * One application connection from its arrival to its closing record. A flow waits for a decision, connects, and then is open;
 * each phase knows how to be ended from outside, and however it ends, exactly one record tells of it.
 */
import type { SocketAddress } from "../../model/address.ts";
import type { Identity } from "../../model/identity.ts";
import type { Reason } from "../../model/reason.ts";
import type { FlowClosed, FlowId, FlowRole, FlowRow, TunnelId } from "../engine.ts";
import type { Leg } from "./leg.ts";
import type { Pod } from "./pod.ts";
import type { ArrivalFields } from "./remembered.ts";
import type { Tunnel, TunnelFlow } from "./tunnel.ts";

/** The end that the flow arrived on. */
export interface Arrival {
  readonly leg: Leg;
  /** The tunnel that a CONNECT came on. */
  readonly tunnel: Tunnel | undefined;
  /** Answers that the flow goes on: 200 for a CONNECT, nothing for a socket. */
  accept(baggage: string): void;
  /** Ends a flow that was never open, in the way of its role. */
  refuse(reason: Reason): void;
}

/** What carries an open flow's bytes. */
export interface Carriage {
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly buffered: number;
  readonly halfClosed: boolean;
  abort(reason: Reason): void;
}

export interface FlowParts {
  readonly id: FlowId;
  readonly pod: Pod;
  readonly role: FlowRole;
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  readonly authority: string;
  readonly peer: Identity | "";
  readonly arrival: Arrival;
}

type Phase =
  | { readonly kind: "waiting"; readonly timer: NodeJS.Timeout | undefined }
  | { readonly kind: "connecting"; cancel: () => void }
  | { readonly kind: "open"; readonly carriage: Carriage }
  | { readonly kind: "ended" };

export class Flow implements TunnelFlow {
  readonly id: FlowId;
  readonly pod: Pod;
  readonly role: FlowRole;
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  readonly arrival: Arrival;
  readonly fields: ArrivalFields;
  readonly arrivedAt = Date.now();
  target: SocketAddress | undefined;
  label = 0;
  /** Of the CONNECT that it came by or went out on; empty while traces are not carried. */
  traceparent = "";
  /** When bytes were last seen to have moved, and how many had: kept by the idle check. */
  activity = { bytes: 0, at: performance.now() };
  readonly #started = performance.now();
  readonly #onEnd: (flow: Flow, record: FlowClosed) => void;
  #phase: Phase = { kind: "waiting", timer: undefined };
  #tunnel: Tunnel | undefined;
  #peer: Identity | "";
  #connectedMs = -1;

  constructor(parts: FlowParts, onEnd: (flow: Flow, record: FlowClosed) => void) {
    this.id = parts.id;
    this.pod = parts.pod;
    this.role = parts.role;
    this.source = parts.source;
    this.destination = parts.destination;
    this.arrival = parts.arrival;
    this.#peer = parts.peer;
    this.#onEnd = onEnd;
    this.fields = {
      pod: parts.pod.handle,
      role: parts.role,
      sourceAddress: parts.source.address,
      destinationAddress: parts.destination.address,
      destinationPort: parts.destination.port,
      peer: parts.peer,
      authority: parts.authority,
    };
    this.rideOn(parts.arrival.tunnel);
    // Once the flow is open its carriage hears of this first and knows more.
    parts.arrival.leg.duplex.once("close", () => {
      if (this.#phase.kind !== "open") this.end("reset-by-source", parts.arrival.leg.detail());
    });
  }

  get phase(): Phase["kind"] {
    return this.#phase.kind;
  }

  get carriage(): Carriage | undefined {
    return this.#phase.kind === "open" ? this.#phase.carriage : undefined;
  }

  /** Bytes that wait in either direction; before the flow is open, those that its peer has sent already. */
  get buffered(): number {
    return this.carriage?.buffered ?? this.arrival.leg.duplex.readableLength;
  }

  get tunnel(): Tunnel | undefined {
    return this.#tunnel;
  }

  get peer(): Identity | "" {
    return this.#peer;
  }

  /** Ties the flow to a tunnel: if that breaks, the flow ends with the tunnel's reason. A far tunnel's peer is the flow's peer. */
  rideOn(tunnel: Tunnel | undefined): void {
    if (tunnel === undefined) return;
    this.#tunnel = tunnel;
    this.#peer = tunnel.proof.identity;
    tunnel.flows.add(this);
  }

  awaitDecision(timeoutMs: number): void {
    const timer = setTimeout(() => this.end("internal", `no decision within ${timeoutMs} ms`), timeoutMs);
    this.#phase = { kind: "waiting", timer };
  }

  /** Bytes may be moved soon: `cancel` stops the attempt. Each further attempt replaces it. */
  connecting(cancel: () => void): void {
    if (this.#phase.kind === "waiting") clearTimeout(this.#phase.timer);
    if (this.#phase.kind === "ended") cancel();
    else this.#phase = { kind: "connecting", cancel };
  }

  opened(carriage: Carriage): void {
    if (this.#phase.kind === "waiting") clearTimeout(this.#phase.timer);
    this.#phase = { kind: "open", carriage };
    this.#connectedMs = performance.now() - this.#started;
    this.activity.at = performance.now();
  }

  /** Ends the flow in whatever phase it is; the first reason counts. */
  end(reason: Reason, detail: string): void {
    const phase = this.#phase;
    if (phase.kind === "ended") return;
    if (phase.kind === "open") {
      this.closed(reason, detail);
      phase.carriage.abort(reason);
      return;
    }
    if (phase.kind === "waiting") clearTimeout(phase.timer);
    this.closed(reason, detail);
    if (phase.kind === "connecting") phase.cancel();
    this.arrival.refuse(reason);
  }

  /** The carriage is done, or about to be: writes the record. */
  closed(reason: Reason, detail: string): void {
    const { carriage } = this;
    if (this.#phase.kind === "ended") return;
    this.#phase = { kind: "ended" };
    const row = this.#describe(carriage);
    this.#tunnel?.flows.delete(this);
    this.arrival.tunnel?.flows.delete(this);
    this.#onEnd(this, {
      ...row,
      reason,
      detail,
      traceparent: this.traceparent,
      connectedMs: this.#connectedMs,
      durationMs: performance.now() - this.#started,
    });
  }

  row(): FlowRow {
    return this.#describe(this.carriage);
  }

  #describe(carriage: Carriage | undefined): FlowRow {
    const tunnel: TunnelId | 0 = this.#tunnel?.id ?? 0;
    return {
      flow: this.id,
      pod: this.pod.handle,
      role: this.role,
      source: this.source,
      destination: this.destination,
      target: this.target,
      peer: this.#peer,
      tunnel,
      label: this.label,
      bytesSent: carriage?.bytesSent ?? 0,
      bytesReceived: carriage?.bytesReceived ?? 0,
      arrivedAt: this.arrivedAt,
    };
  }
}
