/** The driver (see `driver.ts` for what it is to the agent). One engine, one mesh source, all pods of this node. */
import type { FlowLabel } from "../model/flow-label.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshChange } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { LocalPod } from "../model/workload.ts";
import { baggageOf } from "./baggage.ts";
import { CredentialTable } from "./credential-table.ts";
import type { Driver, DriverDeps, DriverOptions, DriverStats, OpenFlow, OpenTunnel, PodSockets } from "./driver.ts";
import {
  type ConnectArrived,
  type CredentialSpec,
  type Decision,
  type DrainReport,
  type Engine,
  type EngineEvents,
  type EngineStats,
  type FlowArrived,
  type FlowClosed,
  FlowEnd,
  type FlowFilter,
  type FlowId,
  type GroupHandle,
  type PodHandle,
  type TunnelDown,
  type TunnelId,
  type TunnelInfo,
} from "./engine.ts";
import { GroupTable } from "./group-table.ts";
import { decideConnect } from "./inbound.ts";
import { decidePlaintext } from "./inbound-passthrough.ts";
import { LabelTable } from "./label-table.ts";
import { decideOutbound } from "./outbound.ts";
import { Rejudging } from "./rejudging.ts";
import type { RefuseVerdict, Verdict } from "./verdict.ts";

/** Live labels; at about 300 bytes each some 20 MB, far above what 250 pods make in one epoch. */
const labelLimit = 65_536;
/** How often unused labels and groups are looked for, milliseconds. */
const sweepInterval = 10_000;
/** A group without tunnels is let go after this, milliseconds. */
const groupIdle = 600_000;
/** "As long as its flows need": the largest delay that a timer takes. */
const unlimitedGrace = 2 ** 31 - 1;

interface DrivenPod {
  local: LocalPod;
  readonly handle: PodHandle;
}

interface HeldFlow {
  readonly pod: PodHandle;
  readonly judge: (pod: DrivenPod) => Verdict;
  readonly timer: NodeJS.Timeout;
}

export class TunnelDriver implements Driver, EngineEvents {
  readonly #deps: DriverDeps;
  readonly #options: DriverOptions;
  readonly #engine: Engine;
  readonly #credentials: CredentialTable;
  readonly #groups: GroupTable;
  readonly #labels = new LabelTable(labelLimit);
  readonly #rejudging: Rejudging;
  readonly #byUid = new Map<string, DrivenPod>();
  readonly #byHandle = new Map<PodHandle, DrivenPod>();
  readonly #held = new Map<FlowId, HeldFlow>();
  /** What a flow is closed for when that is not what it was judged to be; until its record comes. */
  readonly #closing = new Map<FlowId, RefuseVerdict>();
  #epoch = 1;
  #unfollow: (() => void) | undefined;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(deps: DriverDeps, options: DriverOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#engine = deps.engine(this);
    this.#credentials = new CredentialTable(this.#engine);
    this.#groups = new GroupTable(this.#engine);
    this.#rejudging = new Rejudging({
      engine: this.#engine,
      view: () => deps.mesh.view,
      pod: (handle) => this.#byHandle.get(handle)?.local,
      closing: (flow, verdict) => this.#closing.set(flow, verdict),
      failed: (error) => deps.telemetry.internalError(error),
    });
  }

  start(): void {
    if (this.#unfollow !== undefined) return;
    this.#unfollow = this.#deps.mesh.onChange((change) => this.#meshChanged(change));
    this.#sweeper = setInterval(() => this.#sweep(), sweepInterval);
    this.#sweeper.unref();
    // Whatever was decided before the driver followed the mesh was decided from a state of unknown age.
    this.#advance();
  }

  addPod(local: LocalPod, sockets: PodSockets): void {
    const before = this.#byUid.get(local.uid);
    const credential = this.#credentials.acquire(local.identity);
    let handle: PodHandle;
    try {
      handle = this.#engine.addPod({
        uid: local.uid,
        netns: sockets.netns.fd,
        addresses: local.addresses,
        listeners: sockets.listeners,
        originalDestination: sockets.originalDestination,
        marks: sockets.marks,
        credential,
      });
    } catch (thrown) {
      this.#credentials.release(local.identity);
      throw thrown;
    }
    const pod: DrivenPod = { local, handle };
    this.#byUid.set(local.uid, pod);
    this.#byHandle.set(handle, pod);
    if (before !== undefined) {
      // The new listeners have taken over; what came through the old ones may finish.
      this.#retire(before, { graceMs: unlimitedGrace, reason: "pod-removed" }).catch((thrown: unknown) =>
        this.#deps.telemetry.internalError(thrown),
      );
    }
  }

  updatePod(local: LocalPod): void {
    const pod = this.#byUid.get(local.uid);
    if (pod === undefined) return;
    const { identity } = pod.local;
    if (local.identity !== identity) {
      this.#engine.updatePod(pod.handle, {
        addresses: local.addresses,
        credential: this.#credentials.acquire(local.identity),
      });
      this.#credentials.release(identity);
    } else {
      this.#engine.updatePod(pod.handle, { addresses: local.addresses });
    }
    pod.local = local;
    this.#advance(pod.handle);
  }

  async removePod(uid: string, options: { graceMs?: number; reason?: Reason } = {}): Promise<void> {
    const pod = this.#byUid.get(uid);
    if (pod === undefined) return;
    this.#byUid.delete(uid);
    const reason = options.reason ?? "pod-removed";
    this.#closeReplaced(uid, pod.handle, reason);
    await this.#retire(pod, { graceMs: options.graceMs ?? 0, reason });
  }

  *pods(): Iterable<LocalPod> {
    for (const { local } of this.#byUid.values()) yield local;
  }

  setCredential(identity: Identity, spec: CredentialSpec): void {
    this.#credentials.set(identity, spec);
  }

  forgetCredential(identity: Identity): void {
    this.#credentials.forget(identity);
  }

  flows(filter: FlowFilter = {}): OpenFlow[] {
    const flows: OpenFlow[] = [];
    this.#engine.flows(filter, (row) => {
      const localPod = this.#byHandle.get(row.pod)?.local;
      flows.push({ ...row, judged: this.#labels.resolve(row.label, row.target), localPod });
    });
    return flows;
  }

  tunnels(): OpenTunnel[] {
    const tunnels: OpenTunnel[] = [];
    this.#engine.tunnels((info) => tunnels.push({ ...info, localPod: this.#byHandle.get(info.pod)?.local }));
    return tunnels;
  }

  closeFlows(flows: readonly FlowId[], reason: Reason): void {
    this.#engine.closeFlows(flows, reason);
  }

  closeTunnels(tunnels: readonly TunnelId[], reason: Reason): void {
    this.#engine.closeTunnels(tunnels, reason);
  }

  engineStats(): EngineStats {
    return this.#engine.stats();
  }

  stats(): DriverStats {
    return {
      pods: this.#byUid.size,
      credentials: this.#credentials.size,
      groups: this.#groups.size,
      labels: this.#labels.size,
      heldFlows: this.#held.size,
      rejudgedTotal: this.#rejudging.rejudgedTotal,
      policyClosedTotal: this.#rejudging.closedTotal,
    };
  }

  settled(): Promise<void> {
    return this.#rejudging.settled();
  }

  drain(deadlineMs: number): Promise<DrainReport> {
    return this.#engine.drain(deadlineMs);
  }

  async stop(): Promise<void> {
    this.#unfollow?.();
    this.#unfollow = undefined;
    clearInterval(this.#sweeper);
    this.#rejudging.stop();
    for (const { timer } of this.#held.values()) clearTimeout(timer);
    this.#held.clear();
    await this.#engine.stop();
  }

  flowArrived({ flow, pod, role, source, destination }: FlowArrived): void {
    if (role === "outbound") {
      const wanted = { ...destination };
      this.#judge(flow, pod, ({ local }) => decideOutbound(this.#deps.mesh.view, local, wanted, Math.random()));
    } else {
      const arrival = { source: { ...source }, destination: { ...destination } };
      this.#judge(flow, pod, ({ local }) => decidePlaintext(this.#deps.mesh.view, local, arrival));
    }
  }

  connectArrived({ flow, pod, peer, source, authority }: ConnectArrived): void {
    const request = { peer, authority, source: { ...source } };
    this.#judge(flow, pod, ({ local }) => decideConnect(this.#deps.mesh.view, local, request));
  }

  flowHandedOver(_flow: FlowId, plaintext: Parameters<EngineEvents["flowHandedOver"]>[1]): void {
    // No decision of this driver hands a flow over; one that comes all the same must not pass unread.
    plaintext.on("error", () => undefined);
    plaintext.destroy(new FlowEnd("internal"));
  }

  flowClosed(record: FlowClosed): void {
    this.#unhold(record.flow);
    const label = this.#labels.resolve(record.label, record.target);
    const closedFor = this.#closing.get(record.flow);
    this.#closing.delete(record.flow);
    this.#deps.telemetry.flowClosed(record, relabel(label, closedFor), this.#byHandle.get(record.pod)?.local);
  }

  tunnelUp(info: TunnelInfo): void {
    this.#deps.telemetry.tunnelUp(info, this.#byHandle.get(info.pod)?.local);
  }

  tunnelDown(info: TunnelDown): void {
    this.#deps.telemetry.tunnelDown(info, this.#byHandle.get(info.pod)?.local);
  }

  batchEnd(): void {}

  #judge(flow: FlowId, handle: PodHandle, judge: HeldFlow["judge"]): void {
    const pod = this.#byHandle.get(handle);
    if (pod === undefined) {
      this.#engine.decide(flow, { kind: "refuse", reason: "pod-removed", label: 0 });
      return;
    }
    try {
      const verdict = judge(pod);
      if (verdict.kind === "hold") this.#hold(flow, pod, judge);
      else this.#engine.decide(flow, this.#decisionOf(pod, verdict));
    } catch (thrown) {
      this.#deps.telemetry.internalError(thrown);
      this.#engine.decide(flow, { kind: "refuse", reason: "internal", label: 0 });
    }
  }

  #decisionOf(pod: DrivenPod, verdict: Exclude<Verdict, { kind: "hold" }>): Decision {
    const fields = verdict.dependsOn;
    const base = {
      label: this.#labels.intern(verdict),
      ...(fields === undefined ? {} : { remember: { fields, epoch: this.#epoch } }),
    };
    const own = this.#deps.mesh.view.workload(pod.local.workload);
    const baggage = own === undefined ? "" : baggageOf(own);
    switch (verdict.kind) {
      case "carry": {
        const now = performance.now();
        const targets = verdict.targets.map(({ peer, expected, authority, weight }) => ({
          group: this.#groups.handle(pod.handle, peer, expected, this.#epoch, now),
          authority,
          weight,
        }));
        return { ...base, kind: "carry", targets, baggage, forwardedHost: verdict.service?.hostname ?? "" };
      }
      case "dial": {
        const { targets, purpose, sourceAddress } = verdict;
        const dial = { ...base, kind: "dial", targets, from: pod.handle, purpose, baggage } as const;
        return sourceAddress === undefined ? dial : { ...dial, sourceAddress };
      }
      case "refuse":
        return { ...base, kind: "refuse", reason: verdict.reason };
    }
  }

  /** The pod is captured but the mesh doesn't know it yet: capture can be quicker than discovery. */
  #hold(flow: FlowId, pod: DrivenPod, judge: HeldFlow["judge"]): void {
    const timer = setTimeout(() => {
      this.#held.delete(flow);
      this.#engine.decide(flow, { kind: "refuse", reason: "unknown-source", label: 0 });
    }, this.#options.unknownSourceHold);
    timer.unref();
    this.#held.set(flow, { pod: pod.handle, judge, timer });
  }

  #unhold(flow: FlowId): HeldFlow | undefined {
    const held = this.#held.get(flow);
    if (held !== undefined) {
      clearTimeout(held.timer);
      this.#held.delete(flow);
    }
    return held;
  }

  #meshChanged(change: MeshChange): void {
    this.#advance();
    if (change.workloads.size > 0) {
      this.#groups.prune(this.#deps.mesh.view);
      this.#judgeHeld();
    }
    this.#rejudging.begin(change.policyScope);
  }

  #judgeHeld(): void {
    const waiting = new Map(this.#held);
    for (const [flow, { pod, judge }] of waiting) {
      this.#unhold(flow);
      this.#judge(flow, pod, judge);
    }
  }

  /** Nothing decided so far is repeated from here on, for all pods or one. */
  #advance(pod?: PodHandle): void {
    this.#epoch += 1;
    this.#labels.advance(this.#epoch);
    this.#engine.advanceEpoch(this.#epoch, pod);
  }

  /** Flows of the pod's earlier listeners had leave to finish while the pod was here. */
  #closeReplaced(uid: string, current: PodHandle, reason: Reason): void {
    for (const { local, handle } of this.#byHandle.values()) {
      if (local.uid !== uid || handle === current) continue;
      const left: FlowId[] = [];
      this.#engine.flows({ pod: handle }, ({ flow }) => left.push(flow));
      this.#engine.closeFlows(left, reason);
    }
  }

  async #retire(pod: DrivenPod, how: { graceMs: number; reason: Reason }): Promise<void> {
    for (const [flow, held] of this.#held) {
      if (held.pod !== pod.handle) continue;
      this.#unhold(flow);
      this.#engine.decide(flow, { kind: "refuse", reason: how.reason, label: 0 });
    }
    this.#groups.releasePod(pod.handle);
    try {
      await this.#engine.removePod(pod.handle, how);
    } finally {
      this.#byHandle.delete(pod.handle);
      this.#credentials.release(pod.local.identity);
    }
  }

  #sweep(): void {
    if (this.#labels.wantsSweep) {
      const live = new Set<number>();
      this.#engine.flows({}, (row) => live.add(row.label));
      this.#labels.sweep(live);
    }
    if (this.#groups.size > 0) {
      const withTunnels = new Set<GroupHandle>();
      this.#engine.tunnels(({ group }) => {
        if (group !== 0) withTunnels.add(group);
      });
      this.#groups.releaseIdle(withTunnels, this.#epoch, performance.now() - groupIdle);
    }
  }
}

/** A flow cut by a policy change is told with the policy that cut it. */
function relabel(label: FlowLabel, closedFor: RefuseVerdict | undefined): FlowLabel {
  if (closedFor === undefined) return label;
  return { ...label, policy: closedFor.policy, shadow: closedFor.shadow };
}
