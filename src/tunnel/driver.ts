/**
 * The driver puts decisions and bytes together: it answers an engine's events with the deciders of this folder (`outbound`,
 * `inbound`, `inbound-passthrough`), keeps pods, credentials, tunnel groups and labels as handles of that engine, and re-judges open
 * flows whenever the mesh changes. The agent (`node/`) owns one driver and tells it which pods are captured.
 */
import type { Duplex } from "node:stream";
import type { SocketAddress } from "../model/address.ts";
import type { AuthorizationVerdict, HttpRequestFacts } from "../model/authorization.ts";
import type { FlowLabel } from "../model/flow-label.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshSource } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { OriginalDestination, PodListener, SocketMarks } from "../model/sockets.ts";
import type { LocalPod } from "../model/workload.ts";
import type {
  CredentialSpec,
  DrainReport,
  Engine,
  EngineEvents,
  EngineStats,
  FlowClosed,
  FlowFilter,
  FlowId,
  FlowRow,
  PodHandle,
  PodLoad,
  TunnelDown,
  TunnelId,
  TunnelInfo,
} from "./engine.ts";

/** Makes the engine that the driver drives; called once, by the driver's constructor. */
export type EngineFactory = (events: EngineEvents) => Engine;

/** Hears what ended and what came up. Records may be reused by the engine: copy what outlives the call. */
export interface TunnelTelemetry {
  /** Once per flow, at its end. `pod` is the captured pod that the flow was accepted for. */
  flowClosed(record: FlowClosed, label: FlowLabel, pod: LocalPod | undefined): void;
  tunnelUp(info: TunnelInfo, pod: LocalPod | undefined): void;
  tunnelDown(info: TunnelDown, pod: LocalPod | undefined): void;
  /** Something that must not happen did, and was survived. */
  internalError(error: unknown): void;
}

/** An inbound flow whose requests are judged one by one. */
export interface HandedFlow {
  readonly flow: FlowId;
  readonly pod: PodHandle;
  /** Proven by the peer's certificate; empty for plaintext. */
  readonly peer: Identity | "";
  readonly source: SocketAddress;
  /** The pod's own address and port. */
  readonly destination: SocketAddress;
}

/** Reads and enforces requests on flows that the engine handed over. */
export interface RequestEnforcer {
  /** Ends the flow by ending or destroying `plaintext`. */
  enforce(flow: HandedFlow, plaintext: Duplex): void;
  /** The mesh has changed: requests in progress on these flows may be forbidden now. */
  rejudge(concerns: (flow: HandedFlow) => boolean): void;
  /** No new requests; connections end with the answers that are due. */
  drain(): void;
}

/** What the driver offers an enforcer. */
export interface RequestJudge {
  /** What policy says now about a request on this flow. */
  authorize(flow: HandedFlow, request: HttpRequestFacts): AuthorizationVerdict;
  localPod(pod: PodHandle): LocalPod | undefined;
  /** Where an application's sockets are opened; undefined once the pod has gone. */
  podSockets(pod: PodHandle): Pick<PodSockets, "netns" | "marks"> | undefined;
}

export interface DriverDeps {
  readonly engine: EngineFactory;
  readonly mesh: MeshSource;
  readonly telemetry: TunnelTelemetry;
  /** Called once, by the driver's constructor. Without one, connections whose requests policy wants to see are refused. */
  readonly requests?: (judge: RequestJudge) => RequestEnforcer;
}

export interface DriverOptions {
  /** How long a flow of a pod that the mesh does not know yet is held before it is refused with `unknown-source`, milliseconds. */
  readonly unknownSourceHold: number;
}

/** The part of a captured pod (`CapturedPod` of `capture/`) that the engine takes over; the listeners' descriptors change owner. */
export interface PodSockets {
  readonly netns: { readonly fd: number };
  readonly listeners: readonly PodListener[];
  readonly originalDestination: OriginalDestination;
  readonly marks: SocketMarks;
}

/** An open flow with what it was judged to be. */
export interface OpenFlow extends FlowRow {
  readonly judged: FlowLabel;
  readonly localPod: LocalPod | undefined;
}

export interface OpenTunnel extends TunnelInfo {
  readonly openedAt: number;
  readonly flows: number;
  readonly localPod: LocalPod | undefined;
}

/** What a pod takes of its limits. A pod that was captured anew has two rows while flows of its first capture last. */
export interface PodShare extends PodLoad {
  readonly localPod: LocalPod | undefined;
}

/** Gauges of what the driver itself keeps; names become `warren_driver_*` metrics. */
export interface DriverStats {
  readonly pods: number;
  readonly credentials: number;
  readonly groups: number;
  readonly labels: number;
  readonly heldFlows: number;
  readonly handedOverFlows: number;
  readonly rejudgedTotal: number;
  readonly policyClosedTotal: number;
}

export interface Driver {
  /** Begins to follow the mesh; the mesh source is started and stopped by the agent. Idempotent. */
  start(): void;

  /** Hands a captured pod's sockets to the engine. Known by uid: a second call replaces the pod's listeners (after re-capture). */
  addPod(local: LocalPod, sockets: PodSockets): void;
  /** New addresses or another identity of a pod that stays; open flows go on. */
  updatePod(local: LocalPod): void;
  /** Closes the pod's listeners at once, its flows after `graceMs` with `reason` (default `pod-removed`); unknown uids are ignored. */
  removePod(uid: string, options?: { graceMs?: number; reason?: Reason }): Promise<void>;
  pods(): Iterable<LocalPod>;

  /** First certificate of an identity, or its successor; kept for pods that come later. */
  setCredential(identity: Identity, spec: CredentialSpec): void;
  /** Forgets a credential; pods that still use it keep it until they leave. */
  forgetCredential(identity: Identity): void;
  /**
   * Newer lists for an identity that was forgotten while a pod still proves it, because the one that the pod is to have instead has no
   * certificate yet. False when no pod does.
   */
  reviseCredential(identity: Identity, spec: CredentialSpec): boolean;

  flows(filter?: FlowFilter): OpenFlow[];
  /** The same without a list: of the flows that are open at the first step, each as it is when the caller comes to it, or was at its end. */
  openFlows(filter?: FlowFilter): Iterable<OpenFlow>;
  tunnels(): OpenTunnel[];
  /** One row per pod, in no order. */
  podShares(): PodShare[];
  closeFlows(flows: readonly FlowId[], reason: Reason): void;
  closeTunnels(tunnels: readonly TunnelId[], reason: Reason): void;

  engineStats(): EngineStats;
  stats(): DriverStats;

  /** Resolves when every flow has been judged by the mesh state of the time of the call. */
  settled(): Promise<void>;
  /** Stops accepting, then waits for flows to end, at most until the deadline. */
  drain(deadlineMs: number): Promise<DrainReport>;
  /** Abrupt and final; idempotent. */
  stop(): Promise<void>;
}
