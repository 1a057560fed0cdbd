/** An engine without sockets: records what it is told, and lets a test raise its events. */

import type { Identity } from "../../src/model/identity.ts";
import type { Reason } from "../../src/model/reason.ts";
import type {
  CredentialHandle,
  CredentialSpec,
  Decision,
  DrainReport,
  Engine,
  EngineEvents,
  EngineStats,
  FlowClass,
  FlowClosed,
  FlowFilter,
  FlowId,
  FlowRow,
  GroupHandle,
  GroupSpec,
  PodHandle,
  PodLoad,
  PodSpec,
  TunnelId,
  TunnelInfo,
} from "../../src/tunnel/engine.ts";
import { classesOf } from "../../src/tunnel/flow-class.ts";

type OpenTunnel = TunnelInfo & { openedAt: number; flows: number };

export class FakeEngine implements Engine {
  readonly kind = "typescript";
  readonly events: EngineEvents;
  readonly pods = new Map<PodHandle, PodSpec>();
  readonly credentials = new Map<CredentialHandle, { identity: Identity; spec?: CredentialSpec }>();
  readonly groups = new Map<GroupHandle, GroupSpec>();
  readonly decisions = new Map<FlowId, Decision>();
  readonly rows = new Map<FlowId, FlowRow>();
  readonly open: OpenTunnel[] = [];
  readonly epochs: { epoch: number; pod: PodHandle | undefined }[] = [];
  readonly closed: { flow: FlowId; reason: Reason }[] = [];
  readonly removals: { pod: PodHandle; graceMs: number; reason: Reason; done: () => void }[] = [];
  refusePods = false;
  stopped = 0;
  #next = 1;

  constructor(events: EngineEvents) {
    this.events = events;
  }

  /** A handle or id that was not used before. */
  fresh(): number {
    this.#next += 1;
    return this.#next;
  }

  addPod(spec: PodSpec): PodHandle {
    if (this.refusePods) throw new Error("listener is not usable");
    const handle = this.fresh() as PodHandle;
    this.pods.set(handle, spec);
    return handle;
  }

  updatePod(pod: PodHandle, change: { addresses?: readonly string[]; credential?: CredentialHandle }): void {
    const spec = this.pods.get(pod);
    if (spec !== undefined) this.pods.set(pod, { ...spec, ...change });
  }

  removePod(pod: PodHandle, { graceMs, reason }: { graceMs: number; reason: Reason }): Promise<void> {
    this.pods.delete(pod);
    return new Promise((done) => this.removals.push({ pod, graceMs, reason, done }));
  }

  addCredential(identity: Identity): CredentialHandle {
    const handle = this.fresh() as CredentialHandle;
    this.credentials.set(handle, { identity });
    return handle;
  }

  setCredential(credential: CredentialHandle, spec: CredentialSpec): void {
    const known = this.credentials.get(credential);
    if (known === undefined) throw new Error("no such credential");
    known.spec = spec;
  }

  removeCredential(credential: CredentialHandle): void {
    this.credentials.delete(credential);
  }

  group(spec: GroupSpec): GroupHandle {
    const handle = this.fresh() as GroupHandle;
    this.groups.set(handle, spec);
    return handle;
  }

  releaseGroup(group: GroupHandle): void {
    this.groups.delete(group);
  }

  decide(flow: FlowId, decision: Decision): void {
    this.decisions.set(flow, decision);
    const row = this.rows.get(flow);
    if (row !== undefined) row.label = decision.label;
  }

  advanceEpoch(epoch: number, pod?: PodHandle): void {
    this.epochs.push({ epoch, pod });
  }

  flows(filter: FlowFilter, each: (row: FlowRow) => void): void {
    for (const row of this.rows.values()) {
      if (filter.pod === undefined || filter.pod === row.pod) each(row);
    }
  }

  *flowRows(filter: FlowFilter): Generator<FlowRow, void, void> {
    for (const row of this.rows.values()) if (filter.pod === undefined || filter.pod === row.pod) yield row;
  }

  flowClasses({ outbound }: { readonly outbound: boolean }, each: (alike: FlowClass) => void): void {
    const rows = [...this.rows.values()].filter(({ role }) => outbound || role !== "outbound");
    for (const alike of classesOf(rows)) each(alike);
  }

  closeFlows(flows: readonly FlowId[], reason: Reason): void {
    for (const flow of flows) {
      this.closed.push({ flow, reason });
      if (this.rows.has(flow)) this.end(flow, reason);
    }
  }

  tunnels(each: (info: OpenTunnel) => void): void {
    for (const tunnel of this.open) each(tunnel);
  }

  closeTunnels(_tunnels: readonly TunnelId[], _reason: Reason): void {}

  podLoads(): readonly PodLoad[] {
    const flowsOf = (handle: PodHandle) => [...this.rows.values()].filter(({ pod }) => pod === handle).length;
    return [...this.pods.keys()].map((pod) => {
      return { pod, flows: flowsOf(pod), inboundTunnels: 0, outboundTunnels: 0, bufferedBytes: 0 };
    });
  }

  stats(): EngineStats {
    throw new Error("the fake engine counts nothing");
  }

  async drain(_deadlineMs: number): Promise<DrainReport> {
    return { drained: this.rows.size, cut: [] };
  }

  async stop(): Promise<void> {
    this.stopped += 1;
  }

  /** A flow arrives, is listed as open, and the decision that came back at once (if any) is returned. */
  arrive(row: Omit<FlowRow, "flow" | "target" | "tunnel" | "label" | "bytesSent" | "bytesReceived" | "arrivedAt">): {
    flow: FlowId;
    decision: Decision | undefined;
  } {
    const flow = this.fresh() as FlowId;
    this.rows.set(flow, {
      ...row,
      flow,
      target: undefined,
      tunnel: 0,
      label: 0,
      bytesSent: 0,
      bytesReceived: 0,
      arrivedAt: 0,
    });
    const { pod, role, source, destination, peer } = row;
    if (role === "inbound-hbone") {
      if (peer === "") throw new Error("a tunnel's peer has an identity");
      const host = destination.address.includes(":") ? `[${destination.address}]` : destination.address;
      const authority = `${host}:${destination.port}`;
      const tunnel = this.fresh() as TunnelId;
      const headers = { baggage: "", forwarded: "", traceparent: "" };
      this.events.connectArrived({ flow, pod, tunnel, peer, source, authority, ...headers });
    } else {
      this.events.flowArrived({ flow, pod, role, source, destination });
    }
    this.events.batchEnd();
    return { flow, decision: this.decisions.get(flow) };
  }

  /** The flow's closing record, as an engine reports it. */
  end(flow: FlowId, reason: Reason, target?: FlowClosed["target"]): void {
    const row = this.rows.get(flow);
    if (row === undefined) throw new Error("no such flow");
    this.rows.delete(flow);
    const { pod, role, source, destination, peer, tunnel, label, bytesSent, bytesReceived, arrivedAt } = row;
    const record = { flow, pod, role, source, destination, peer, tunnel, label, bytesSent, bytesReceived, arrivedAt };
    this.events.flowClosed({ ...record, target, reason, detail: "", traceparent: "", connectedMs: -1, durationMs: 1 });
  }
}
