/** The driver (see `driver.ts` for what it is to the agent). One engine, one mesh source, all pods of this node. */
import type { Duplex } from "node:stream";
import { parseHostPort } from "../lib/host-port.ts";
import { canonicalIp } from "../lib/ip.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshChange } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { LocalPod } from "../model/workload.ts";
import { CredentialSuccession } from "./credential-succession.ts";
import { CredentialTable } from "./credential-table.ts";
import { DecisionMaker } from "./decision-maker.ts";
import { Departures, unlimitedGrace } from "./departures.ts";
import { type DrivenPod, leaving } from "./driven-pod.ts";
import type {
  Driver,
  DriverDeps,
  DriverOptions,
  DriverStats,
  HandedFlow,
  OpenFlow,
  OpenTunnel,
  PodShare,
  PodSockets,
  RequestEnforcer,
} from "./driver.ts";
import {
  type ConnectArrived,
  type CredentialSpec,
  type DrainReport,
  type Engine,
  type EngineEvents,
  type EngineStats,
  type FlowArrived,
  type FlowClosed,
  FlowEnd,
  type FlowFilter,
  type FlowId,
  type FlowRow,
  type GroupHandle,
  type PodHandle,
  type TunnelDown,
  type TunnelId,
  type TunnelInfo,
} from "./engine.ts";
import { GroupTable } from "./group-table.ts";
import { HeldFlows } from "./held-flows.ts";
import { decideConnect } from "./inbound.ts";
import { decidePlaintext } from "./inbound-passthrough.ts";
import { LabelTable, relabel } from "./label-table.ts";
import { Listings } from "./listings.ts";
import { LocalFlows } from "./local-flows.ts";
import { decideOutbound } from "./outbound.ts";
import { Rejudging } from "./rejudging.ts";
import { judgeRequest } from "./request-judge.ts";
import type { HttpStance, RefuseVerdict, Verdict } from "./verdict.ts";

/** Live labels; at about 300 bytes each some 20 MB, far above what 250 pods make in one epoch. */
const labelLimit = 65_536;
/** How often unused labels and groups are looked for, milliseconds. */
const sweepInterval = 10_000;
/** A group without tunnels is let go after this, milliseconds. */
const groupIdle = 600_000;
/** How long a pod whose identity changes may prove the one that it had, milliseconds: longer than a restart of the control plane. */
const successionPatience = 120_000;

/** A flow that arrived, and how it is judged. */
interface Arrived {
  readonly pod: PodHandle;
  readonly judge: (pod: DrivenPod) => Verdict;
  /** What an enforcer is told if requests on the flow are to be judged. */
  readonly inbound?: Omit<HandedFlow, "flow" | "pod">;
}

export class TunnelDriver implements Driver, EngineEvents {
  readonly #deps: DriverDeps;
  readonly #engine: Engine;
  readonly #credentials: CredentialTable;
  readonly #succession: CredentialSuccession;
  readonly #groups: GroupTable;
  readonly #labels = new LabelTable(labelLimit);
  readonly #rejudging: Rejudging;
  readonly #byUid = new Map<string, DrivenPod>();
  readonly #byHandle = new Map<PodHandle, DrivenPod>();
  /** Flows of pods that the mesh doesn't know yet: capture can be quicker than discovery. */
  readonly #held: HeldFlows<Arrived>;
  /** Flows whose requests are judged, from their decision to their end. */
  readonly #handedOver = new Map<FlowId, HandedFlow>();
  readonly #requests: RequestEnforcer | undefined;
  readonly #local: LocalFlows;
  readonly #decisions: DecisionMaker;
  readonly #departures: Departures;
  readonly #listings: Listings;
  readonly #stance: HttpStance;
  /** What a flow is closed for when that is not what it was judged to be; until its record comes. */
  readonly #closing = new Map<FlowId, RefuseVerdict>();
  #epoch = 1;
  #unfollow: (() => void) | undefined;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(deps: DriverDeps, options: DriverOptions) {
    this.#deps = deps;
    this.#engine = deps.engine(this);
    this.#credentials = new CredentialTable(this.#engine);
    this.#succession = new CredentialSuccession(
      { engine: this.#engine, credentials: this.#credentials },
      { patience: successionPatience },
    );
    this.#groups = new GroupTable(this.#engine);
    const localPod = (handle: PodHandle): LocalPod | undefined => this.#byHandle.get(handle)?.local;
    this.#requests = deps.requests?.({
      localPod,
      podSockets: (handle) => {
        // Of a pod that was captured anew only the last capture's netns is still open.
        const uid = localPod(handle)?.uid;
        return uid === undefined ? undefined : this.#byUid.get(uid)?.sockets;
      },
      authorize: (flow, request) => judgeRequest(deps.mesh.view, localPod(flow.pod), flow, request),
    });
    const label = ({ label: index, target }: Pick<FlowRow, "label" | "target">) => this.#labels.resolve(index, target);
    this.#local = new LocalFlows({
      pods: () => this.pods(),
      proven: (identity) => this.#credentials.isProven(identity),
      label,
      accepted: localPod,
    });
    this.#decisions = new DecisionMaker({
      view: () => deps.mesh.view,
      labels: this.#labels,
      groups: this.#groups,
      local: this.#local,
      podByUid: (uid) => this.#byUid.get(uid),
    });
    this.#departures = new Departures({
      engine: this.#engine,
      pods: this.#byHandle,
      groups: this.#groups,
      succession: this.#succession,
      credentials: this.#credentials,
      label,
      joins: () => deps.mesh.view.settings.localTraffic === "auto",
      refuseHeld: (pod, reason) => this.#refuseHeld(pod, reason),
    });
    this.#listings = new Listings({ engine: this.#engine, label, localPod });
    this.#held = new HeldFlows({
      patience: options.unknownSourceHold,
      giveUp: (flow) => this.#refuse(flow, "unknown-source"),
    });
    this.#stance = this.#requests === undefined ? "refused" : "enforced";
    this.#rejudging = new Rejudging({
      engine: this.#engine,
      view: () => deps.mesh.view,
      pod: localPod,
      stance: this.#stance,
      localPods: this.#local,
      mayBeLocal: () => this.#local.joinedAny,
      localPair: (row) => this.#local.pair(row),
      isHandedOver: (flow) => this.#handedOver.has(flow),
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
    const pod: DrivenPod = { local, sockets, handle };
    this.#byUid.set(local.uid, pod);
    this.#byHandle.set(handle, pod);
    this.#localChanged();
    if (before !== undefined) {
      // The new listeners have taken over; what came through the old ones may finish.
      const done = this.#departures.begin(before, { graceMs: unlimitedGrace, reason: "pod-removed" });
      done.catch((thrown: unknown) => this.#deps.telemetry.internalError(thrown));
    }
  }

  updatePod(local: LocalPod): void {
    const pod = this.#byUid.get(local.uid);
    if (pod === undefined) return;
    this.#engine.updatePod(pod.handle, { addresses: local.addresses });
    if (local.identity !== pod.local.identity) this.#succession.change(pod.handle, pod.local.identity, local.identity);
    pod.local = local;
    this.#advance(pod.handle);
    this.#localChanged();
  }

  async removePod(uid: string, options: { graceMs?: number; reason?: Reason } = {}): Promise<void> {
    const { graceMs = 0, reason = "pod-removed" } = options;
    const pod = this.#byUid.get(uid);
    if (pod !== undefined) {
      this.#byUid.delete(uid);
      this.#localChanged();
      this.#departures.closeJoined(pod.local, { graceMs, reason });
      this.#departures.closeReplaced(uid, reason);
    }
    // An earlier removal of the same pod may be within its own time still.
    const earlier = leaving(this.#byHandle.values(), uid).map(({ done }) => done);
    await Promise.all(pod === undefined ? earlier : [...earlier, this.#departures.begin(pod, { graceMs, reason })]);
  }

  *pods(): Iterable<LocalPod> {
    for (const { local } of this.#byUid.values()) yield local;
  }

  setCredential(identity: Identity, spec: CredentialSpec): void {
    const before = this.#credentials.isProven(identity);
    this.#credentials.set(identity, spec);
    this.#succession.arrived(identity);
    if (this.#credentials.isProven(identity) !== before) this.#localChanged();
  }

  forgetCredential(identity: Identity): void {
    const before = this.#credentials.isProven(identity);
    this.#credentials.forget(identity);
    if (before) this.#localChanged();
  }

  reviseCredential(identity: Identity, spec: CredentialSpec): boolean {
    return this.#credentials.revise(identity, spec);
  }

  flows(filter: FlowFilter = {}): OpenFlow[] {
    return [...this.openFlows(filter)];
  }

  openFlows(filter: FlowFilter = {}): Iterable<OpenFlow> {
    return this.#listings.flows(filter);
  }

  tunnels(): OpenTunnel[] {
    return this.#listings.tunnels();
  }

  podShares(): PodShare[] {
    return this.#listings.podShares();
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
      handedOverFlows: this.#handedOver.size,
      rejudgedTotal: this.#rejudging.rejudgedTotal,
      policyClosedTotal: this.#rejudging.closedTotal,
    };
  }

  settled(): Promise<void> {
    return this.#rejudging.settled();
  }

  drain(deadlineMs: number): Promise<DrainReport> {
    this.#requests?.drain();
    return this.#engine.drain(deadlineMs);
  }

  async stop(): Promise<void> {
    this.#unfollow?.();
    this.#unfollow = undefined;
    clearInterval(this.#sweeper);
    this.#rejudging.stop();
    this.#held.clear();
    this.#succession.stop();
    await this.#engine.stop();
  }

  flowArrived({ flow, pod, role, source, destination }: FlowArrived): void {
    if (role === "outbound") {
      const wanted = { ...destination };
      const judge = ({ local }: DrivenPod): Verdict =>
        decideOutbound(this.#deps.mesh.view, local, wanted, Math.random(), this.#local);
      this.#judge(flow, { pod, judge });
      return;
    }
    const arrival = { source: { ...source }, destination: { ...destination } };
    const judge = ({ local }: DrivenPod): Verdict =>
      decidePlaintext(this.#deps.mesh.view, local, arrival, this.#stance);
    this.#judge(flow, { pod, judge, inbound: { ...arrival, peer: "" } });
  }

  connectArrived({ flow, pod, peer, source, authority }: ConnectArrived): void {
    const request = { peer, authority, source: { ...source } };
    const judge = ({ local }: DrivenPod): Verdict => decideConnect(this.#deps.mesh.view, local, request, this.#stance);
    const target = parseHostPort(authority);
    const destination = { address: canonicalIp(target?.host ?? "") ?? "", port: target?.port ?? 0 };
    this.#judge(flow, { pod, judge, inbound: { peer, source: request.source, destination } });
  }

  flowHandedOver(flow: FlowId, plaintext: Duplex): void {
    const handed = this.#handedOver.get(flow);
    if (handed !== undefined && this.#requests !== undefined) {
      this.#requests.enforce(handed, plaintext);
      return;
    }
    // Nobody asked for this flow's bytes; they must not pass unread.
    plaintext.on("error", () => undefined);
    plaintext.destroy(new FlowEnd("internal"));
  }

  flowClosed(record: FlowClosed): void {
    this.#held.forget(record.flow);
    const label = this.#labels.resolve(record.label, record.target);
    const closedFor = this.#closing.get(record.flow);
    this.#closing.delete(record.flow);
    this.#handedOver.delete(record.flow);
    const told = relabel(label, closedFor);
    const { telemetry } = this.#deps;
    const pod = this.#byHandle.get(record.pod)?.local;
    if (told.local === true) {
      for (const side of this.#local.sides(record, told, pod)) telemetry.flowClosed(side.record, told, side.pod);
    } else {
      telemetry.flowClosed(record, told, pod);
    }
  }

  tunnelUp(info: TunnelInfo): void {
    this.#deps.telemetry.tunnelUp(info, this.#byHandle.get(info.pod)?.local);
  }

  tunnelDown(info: TunnelDown): void {
    this.#deps.telemetry.tunnelDown(info, this.#byHandle.get(info.pod)?.local);
  }

  batchEnd(): void {}

  /** False if the flow must wait. */
  #judge(flow: FlowId, arrived: Arrived): boolean {
    const pod = this.#byHandle.get(arrived.pod);
    if (pod === undefined) {
      this.#refuse(flow, "pod-removed");
      return true;
    }
    try {
      const verdict = arrived.judge(pod);
      if (verdict.kind === "hold") {
        this.#held.hold(flow, arrived);
        return false;
      }
      if (verdict.kind === "hand-over" && arrived.inbound !== undefined) {
        this.#handedOver.set(flow, { flow, pod: arrived.pod, ...arrived.inbound });
      }
      this.#engine.decide(flow, this.#decisions.decision(pod, verdict, this.#epoch));
    } catch (thrown) {
      this.#handedOver.delete(flow);
      this.#deps.telemetry.internalError(thrown);
      this.#refuse(flow, "internal");
    }
    return true;
  }

  #refuse(flow: FlowId, reason: Reason): void {
    this.#engine.decide(flow, { kind: "refuse", reason, label: 0 });
  }

  #refuseHeld(pod: PodHandle, reason: Reason): void {
    this.#held.review((flow, arrived) => {
      if (arrived.pod !== pod) return false;
      this.#refuse(flow, reason);
      return true;
    });
  }

  #meshChanged(change: MeshChange): void {
    this.#advance();
    // What must end comes before what may begin.
    const concerned = this.#rejudging.follow(change);
    this.#requests?.rejudge(({ pod }) => {
      const local = this.#byHandle.get(pod)?.local;
      return local !== undefined && concerned(local);
    });
    if (change.settings || change.workloads.size > 0) this.#groups.prune(this.#deps.mesh.view);
    if (change.workloads.size > 0) this.#held.review((flow, arrived) => this.#judge(flow, arrived));
  }

  /** Nothing decided so far is repeated from here on, for all pods or one. */
  #advance(pod?: PodHandle): void {
    this.#epoch += 1;
    this.#labels.advance(this.#epoch);
    this.#engine.advanceEpoch(this.#epoch, pod);
  }

  /** Another pod can be joined, or one no longer can: what was remembered for any other pod may be about it. */
  #localChanged(): void {
    if (this.#deps.mesh.view.settings.localTraffic !== "auto") return;
    this.#local.changed();
    this.#advance();
    this.#rejudging.begin(() => true);
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
