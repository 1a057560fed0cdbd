/**
 * The contract between decisions and bytes.
 *
 * An engine owns every application socket, every tunnel and every byte in flight. It knows no policy: for each new flow it asks
 * (`flowArrived`, `connectArrived`) and carries out what it is told (`decide`). Everything above this file is the same for both
 * implementations: `typescript/` (node:net, node:tls, node:http2) and `native/` (C++ workers). Words:
 *
 *   pod         a handle given at enrolment: its netns, listeners and credential
 *   credential  one SPIFFE id's certificate chain, key, trust bundle and CRL; replaced in place on rotation
 *   flow        one application TCP connection being carried
 *   tunnel      one TLS + HTTP/2 connection to a peer; many flows
 *   group       tunnels alike in source credential, source pod, peer address and expected identities: the pool
 *
 * Rules of the contract:
 *  - Events reach `EngineEvents` on the JavaScript thread, in batches, each batch followed by `batchEnd`. Event objects may be
 *    reused by the engine: copy what outlives the call.
 *  - `decide` may be called inside the event or later; the engine buffers decisions and hands them over at `batchEnd` or at the
 *    end of the current microtask. A flow without a decision within `timeouts.decision` is refused with `internal`.
 *  - Decisions for flows that have ended meanwhile are ignored; every flow that arrived ends with exactly one `flowClosed`.
 *  - Handles are never reused within one engine's life.
 *  - An engine holds no defaults: every limit, timeout, cipher and group is passed in.
 */
import type { Duplex } from "node:stream";
import type { SocketAddress } from "../model/address.ts";
import type { Identity } from "../model/identity.ts";
import type { Reason } from "../model/reason.ts";
import type { OriginalDestination, PodListener, SocketMarks } from "../model/sockets.ts";

/** 1 … 2^53-1, so that a plain number holds it. */
export type FlowId = number & { readonly __flow: true };
export type PodHandle = number & { readonly __pod: true };
export type CredentialHandle = number & { readonly __credential: true };
export type GroupHandle = number & { readonly __group: true };
export type TunnelId = number & { readonly __tunnel: true };

/** What a flow is to the pod it was accepted for. */
export type FlowRole = "outbound" | "inbound-plaintext" | "inbound-hbone";

export interface PodSpec {
  /** Kubernetes pod UID. */
  readonly uid: string;
  /** Descriptor of the pod's network namespace; the engine duplicates it. */
  readonly netns: number;
  /** The pod's own addresses: a CONNECT authority must name one of them (else `not-this-pod`). */
  readonly addresses: readonly string[];
  readonly listeners: readonly PodListener[];
  readonly originalDestination: OriginalDestination;
  readonly marks: SocketMarks;
  /** The identity of this pod's TLS ends. Until the credential holds a certificate handshakes are held, up to `timeouts.credential`. */
  readonly credential: CredentialHandle;
}

/** All of it PEM text; `chain` leaf first without the root. The key never leaves the process. */
export interface CredentialSpec {
  readonly identity: Identity;
  readonly chain: string;
  readonly privateKey: string;
  readonly trustBundle: string;
  /** Peers must carry a SPIFFE id of one of these: own trust domain and its aliases. */
  readonly trustDomains: readonly string[];
  /** Concatenated CRLs; empty for none. */
  readonly crl: string;
  /** Identities refused whatever their certificate says (`certificate-revoked`). */
  readonly deniedIdentities: readonly Identity[];
}

export interface GroupSpec {
  /** Tunnels are opened from this pod's netns, with its credential. */
  readonly pod: PodHandle;
  /** The peer's HBONE address, normally port 15008. */
  readonly peer: SocketAddress;
  /** The peer must prove one of these. Empty is refused: an unknown peer is never trusted. */
  readonly expectedIdentities: readonly Identity[];
}

/** The state version that a decision was made from; grows by at least one with each change of mesh, policy or credential state. */
export type Epoch = number;

/** The fields of the event that a decision depended on; the same fields with the same values get the same decision. */
export type RememberField = "destination" | "destination-port" | "source-address" | "peer-identity" | "authority";

/**
 * Ask the engine to repeat this decision alone for flows of the same pod and role that agree in `fields`, while `epoch` is current.
 * A request, not a promise: at most `limits.flows` decisions are kept, and one made from an older epoch than the current is not.
 */
export interface Remember {
  readonly fields: readonly RememberField[];
  readonly epoch: Epoch;
}

interface DecisionBase {
  /** An index into TypeScript's table of who-talks-to-whom; comes back in `flowClosed` and listings, also for remembered flows. */
  readonly label: number;
  readonly remember?: Remember;
}

/**
 * Over HBONE. The engine picks by weight and load and takes the next target while nothing has moved yet, unless the peer judged
 * (400, 401) and did not fail. Weight 0 is a last resort. A stream that a dying tunnel lost unanswered is tried once more there.
 */
export interface CarryDecision extends DecisionBase {
  readonly kind: "carry";
  readonly targets: readonly { readonly group: GroupHandle; readonly authority: string; readonly weight: number }[];
  /** Request header; empty to omit. `forwarded: for=…` and `traceparent` are per flow and made by the engine. */
  readonly baggage: string;
  /** Adds `;host=` to `forwarded`; empty to omit. */
  readonly forwardedHost: string;
}

/** Plain TCP. Targets are tried by weight while nothing has moved yet. */
export interface DialDecision extends DecisionBase {
  readonly kind: "dial";
  readonly targets: readonly { readonly destination: SocketAddress; readonly weight: number }[];
  /** The pod in whose netns the socket is opened. */
  readonly from: PodHandle;
  readonly purpose: "leave" | "deliver";
  /** Bind to this source (IP_TRANSPARENT); absent for the netns's own. Equal to the destination address means do not bind. */
  readonly sourceAddress?: string;
  /** `baggage` of the 200 answer for a CONNECT; empty to omit. */
  readonly baggage: string;
}

/**
 * The plaintext is parsed and enforced in TypeScript. A CONNECT is answered 200 at once; `flowHandedOver` brings the duplex.
 * Destroying the duplex with a `FlowEnd` error closes the flow with its reason; bytes are counted by the engine.
 */
export interface HandOverDecision extends DecisionBase {
  readonly kind: "hand-over";
  readonly baggage: string;
}

/** Outbound and plaintext: reset. CONNECT: HEADERS + END_STREAM with the reason's status and `x-warren-reason`. */
export interface RefuseDecision extends DecisionBase {
  readonly kind: "refuse";
  readonly reason: Reason;
}

export type Decision = CarryDecision | DialDecision | HandOverDecision | RefuseDecision;

/** A TCP connection was accepted on 15001 or 15006 and its destination found. */
export interface FlowArrived {
  flow: FlowId;
  pod: PodHandle;
  role: "outbound" | "inbound-plaintext";
  source: SocketAddress;
  destination: SocketAddress;
}

/** A CONNECT arrived on a tunnel accepted on 15008. Method and authority have been checked; the authority is an IP of this pod or a hostname. */
export interface ConnectArrived {
  flow: FlowId;
  pod: PodHandle;
  tunnel: TunnelId;
  /** Proven by the peer's certificate. */
  peer: Identity;
  /** The tunnel's TCP peer. */
  source: SocketAddress;
  /** `host:port` as sent. */
  authority: string;
  /** Peer data, telemetry only; empty when absent. */
  baggage: string;
  forwarded: string;
  traceparent: string;
}

export interface TunnelInfo {
  tunnel: TunnelId;
  direction: "outbound" | "inbound";
  pod: PodHandle;
  /** 0 for inbound tunnels. */
  group: GroupHandle | 0;
  peerAddress: SocketAddress;
  /** Empty until proven. */
  peer: Identity | "";
  /** As OpenSSL names them: `TLSv1.3`; `X25519MLKEM768`, `x25519`, `secp256r1`; `TLS_AES_256_GCM_SHA384`. */
  tls: { version: string; group: string; cipher: string };
  /** From the first SYN (or accept) to HTTP/2 ready, milliseconds. */
  setupMs: number;
}

export interface TunnelDown extends TunnelInfo {
  reason: Reason;
  /** OpenSSL's or the kernel's own words; may be empty. */
  detail: string;
}

/** The closing record: the only thing TypeScript hears of a flow whose decision was remembered. */
export interface FlowClosed {
  flow: FlowId;
  pod: PodHandle;
  role: FlowRole;
  source: SocketAddress;
  /** What the application asked for; for CONNECT the authority's address. */
  destination: SocketAddress;
  /** Where it went: application or peer address; undefined if nowhere. */
  target: SocketAddress | undefined;
  /** Proven identity of the other end of the tunnel, empty for plaintext. */
  peer: Identity | "";
  /** The tunnel that carried it, 0 for none. */
  tunnel: TunnelId | 0;
  /** From the last decision, 0 if refused before one. */
  label: number;
  reason: Reason;
  detail: string;
  /** Application bytes from source to destination and back. */
  bytesSent: number;
  bytesReceived: number;
  /** Unix time in milliseconds of the accept, and durations in milliseconds from it; -1 where it did not happen. */
  arrivedAt: number;
  /** Of the CONNECT, as sent or as received; empty for none, and while `traces.carried` is off. */
  traceparent: string;
  connectedMs: number;
  durationMs: number;
}

/** A row of the listing of open flows. */
export interface FlowRow {
  flow: FlowId;
  pod: PodHandle;
  role: FlowRole;
  source: SocketAddress;
  destination: SocketAddress;
  target: SocketAddress | undefined;
  peer: Identity | "";
  tunnel: TunnelId | 0;
  label: number;
  bytesSent: number;
  bytesReceived: number;
  arrivedAt: number;
}

/**
 * Open flows that agree in pod, role, peer, destination and the address of their source; outbound ones in target and label too. Policy
 * cannot tell them apart, so that thousands are judged by one look.
 */
export interface FlowClass {
  /** One of them. */
  readonly row: FlowRow;
  readonly flows: readonly FlowId[];
}

export interface EngineEvents {
  flowArrived(event: FlowArrived): void;
  connectArrived(event: ConnectArrived): void;
  /** After a `hand-over` decision: the flow's plaintext, flowing both ways with back pressure; `allowHalfOpen` is on. */
  flowHandedOver(flow: FlowId, plaintext: Duplex): void;
  /** Also for what was refused before it could be announced: over a limit, no destination, a CONNECT that is none. */
  flowClosed(event: FlowClosed): void;
  tunnelUp(event: TunnelInfo): void;
  /** Also for a tunnel that never came up, with an empty `peer` and `tls`. */
  tunnelDown(event: TunnelDown): void;
  /** Everything of one wake-up has been delivered. */
  batchEnd(): void;
}

/** Milliseconds; 0 turns `idle` and `halfClosed` off. */
export interface EngineTimeouts {
  readonly decision: number;
  readonly credential: number;
  readonly connect: number;
  readonly tls: number;
  readonly http2: number;
  readonly connectAnswer: number;
  readonly idle: number;
  readonly halfClosed: number;
  /** HTTP/2 PING after this much time since the last pong, and how long to wait for one (ztunnel: 10 s, 20 s). */
  readonly pingInterval: number;
  readonly pingTimeout: number;
  /** A tunnel without flows is closed after this. */
  readonly tunnelIdle: number;
  /** How long a peer that failed is answered from memory; doubles up to `peerBackoffMax`. */
  readonly peerBackoff: number;
  readonly peerBackoffMax: number;
}

export interface EngineLimits {
  /** Open flows per process, per pod, per tunnel (own limit as client; peers' lower limits are obeyed). */
  readonly flows: number;
  readonly flowsPerPod: number;
  readonly flowsPerTunnel: number;
  /** MAX_CONCURRENT_STREAMS advertised on 15008 (≥ 100: peers limit themselves to that). */
  readonly streamsPerInboundTunnel: number;
  readonly tunnelsPerGroup: number;
  /** Inbound tunnels per pod, handshaking ones included. */
  readonly inboundTunnelsPerPod: number;
  /** Unfinished ones included. A pod with more than half of them keeps none that is idle; at the limit flows that need another one fail. */
  readonly outboundTunnelsPerPod: number;
  /** HTTP/2 windows and frame size in bytes. */
  readonly streamWindow: number;
  readonly connectionWindow: number;
  readonly frameSize: number;
  readonly headerListSize: number;
  /**
   * Buffered bytes per flow, per tunnel, per pod and per process. Near one of the last three the tunnels concerned narrow their stream
   * windows; above it the flows that hold most and more than an equal share end with `limit-memory`, those of other pods never.
   */
  readonly bufferPerFlow: number;
  readonly memoryPerTunnel: number;
  readonly memoryPerPod: number;
  readonly memory: number;
  /**
   * Descriptors that the process may have (RLIMIT_NOFILE), 0 if that is not known. The last eighth is for pods that have no more than an
   * equal share of the others; the rest are refused with `out-of-descriptors`.
   */
  readonly descriptors: number;
}

export interface TlsSettings {
  /** OpenSSL group list in order of preference, e.g. `X25519MLKEM768:X25519:P-256`. */
  readonly groups: string;
  /** TLS 1.3 cipher suites in order of preference. */
  readonly ciphers: string;
  /** Session resumption of outbound tunnels; off unless asked for. The TypeScript engine never resumes, on either end. */
  readonly resumption: boolean;
}

export interface TraceOptions {
  /** Closing records tell the `traceparent` of their CONNECT: some 60 bytes for each open flow. Off, every CONNECT says that nobody samples it. */
  readonly carried: boolean;
  /** Share of the outbound flows whose `traceparent` says that it is sampled, 0 to 1. */
  readonly share: number;
}

export interface EngineOptions {
  readonly timeouts: EngineTimeouts;
  readonly limits: EngineLimits;
  readonly tls: TlsSettings;
  readonly traces: TraceOptions;
  /** Worker threads; the TypeScript engine has none and ignores it. */
  readonly workers: number;
}

/** Counters since start and gauges of now; every long-lived thing is counted. Names are stable: they become `warren_engine_*` metrics. */
export interface EngineStats {
  readonly flowsOpen: number;
  readonly flowsTotal: number;
  readonly tunnelsOpen: number;
  readonly tunnelsTotal: number;
  readonly handshakesTotal: number;
  readonly handshakesFailedTotal: number;
  readonly groups: number;
  readonly credentials: number;
  readonly pods: number;
  readonly rememberedDecisions: number;
  readonly rememberedHitsTotal: number;
  readonly decisionsTotal: number;
  readonly batchesTotal: number;
  readonly bufferedBytes: number;
  /** Of the pod that holds most of them: near `limits.memoryPerPod` somebody does not read. */
  readonly podBufferedBytesMax: number;
  readonly memoryBytes: number;
  readonly bytesSentTotal: number;
  readonly bytesReceivedTotal: number;
  readonly retriesTotal: number;
  readonly shedTotal: number;
  readonly acceptPausesTotal: number;
}

/** What one pod takes of its limits now. */
export interface PodLoad {
  readonly pod: PodHandle;
  readonly flows: number;
  /** Handshaking ones included. */
  readonly inboundTunnels: number;
  readonly outboundTunnels: number;
  /** Bytes that wait for slow readers. */
  readonly bufferedBytes: number;
}

export interface FlowFilter {
  readonly pod?: PodHandle;
  readonly role?: FlowRole;
  readonly peer?: Identity;
  readonly tunnel?: TunnelId;
}

/** What was still open when the drain deadline passed. */
export interface DrainReport {
  readonly drained: number;
  readonly cut: readonly FlowRow[];
}

export interface Engine {
  readonly kind: "typescript" | "native";

  /** Takes over the listeners. Throws, closing none of them, if the netns or a descriptor is not usable. */
  addPod(spec: PodSpec): PodHandle;
  /** New addresses or credential, in place; open flows go on. */
  updatePod(pod: PodHandle, change: { addresses?: readonly string[]; credential?: CredentialHandle }): void;
  /** Closes the listeners at once and the pod's flows and tunnels after `graceMs` (0: abruptly) with `reason`; resolves when all are gone. */
  removePod(pod: PodHandle, options: { graceMs: number; reason: Reason }): Promise<void>;

  /** A credential may exist before its first certificate: handshakes that need it are held. */
  addCredential(identity: Identity): CredentialHandle;
  /** Replaces certificate, bundle, CRL and denials in place. Open tunnels go on, except those whose peer is now revoked or denied. */
  setCredential(credential: CredentialHandle, spec: CredentialSpec): void;
  removeCredential(credential: CredentialHandle): void;

  /** The group of this spec: the same handle for an equal spec until released. */
  group(spec: GroupSpec): GroupHandle;
  /** The group takes no new flows and disappears with its last tunnel. */
  releaseGroup(group: GroupHandle): void;

  decide(flow: FlowId, decision: Decision): void;
  /**
   * From the return of this call on, no decision remembered from an older epoch is used, for all pods or for one. Flows already
   * open are TypeScript's to re-judge: `flows()`, then `closeFlows`.
   */
  advanceEpoch(epoch: Epoch, pod?: PodHandle): void;

  /** Calls `each` for every open flow; the row object may be reused. */
  flows(filter: FlowFilter, each: (row: FlowRow) => void): void;
  /** The flows that are open at the call, each read when the caller comes to it; the caller may take its time, and some end meanwhile. */
  flowRows(filter: FlowFilter): Iterable<FlowRow>;
  /** Calls `each` for every set of open flows that are alike to policy, outbound ones only if asked for; the row may be reused. */
  flowClasses(filter: { readonly outbound: boolean }, each: (alike: FlowClass) => void): void;
  closeFlows(flows: readonly FlowId[], reason: Reason): void;
  tunnels(each: (info: TunnelInfo & { openedAt: number; flows: number }) => void): void;
  closeTunnels(tunnels: readonly TunnelId[], reason: Reason): void;

  stats(): EngineStats;
  /** One row per pod, in no order. */
  podLoads(): readonly PodLoad[];
  /** Stops accepting, sends graceful GOAWAYs, waits for flows to end until the deadline, then cuts the rest. */
  drain(deadlineMs: number): Promise<DrainReport>;
  /** Abrupt and final; may be called twice. */
  stop(): Promise<void>;
}

/** Closes a handed-over flow with a reason. */
export class FlowEnd extends Error {
  readonly reason: Reason;
  constructor(reason: Reason) {
    super(reason);
    this.name = "FlowEnd";
    this.reason = reason;
  }
}
