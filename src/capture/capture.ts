/**
 * Capture: how a pod's TCP traffic comes to the agent's listeners, and how it leaves a pod on purpose. One interface, two
 * backends: `ebpf/` (sk_lookup, connect and sockops programs) and `nftables/` (rules inside the pod's netns). Capture opens
 * listeners and sockets; it never reads a byte from them.
 */
import type { OriginalDestination, PodListener, SocketMarks, SocketOps } from "../model/sockets.ts";

export type BackendKind = "ebpf" | "nftables";

/**
 * What this kernel and process can do, found by trying, never by version. `missing` says in words what stands in the way, or what
 * a usable backend does without.
 */
export interface KernelSupport {
  readonly release: string;
  readonly cgroup2: string | undefined;
  readonly backends: Readonly<Record<BackendKind, { readonly usable: boolean; readonly missing: readonly string[] }>>;
}

/** A network namespace held by descriptor: identity is (dev, ino), the cookie is the kernel's 64-bit name for it. */
export interface Netns {
  readonly fd: number;
  readonly dev: bigint;
  readonly ino: bigint;
  readonly cookie: bigint;
}

export interface CaptureRequest {
  readonly uid: string;
  /** Path of the netns, opened once and then verified on the descriptor. */
  readonly netnsPath: string;
  /** The netns must hold one of these or enrolment is refused (`MESH_WRONG_NETNS`): identity mix-ups are the worst bug class. */
  readonly addresses: readonly string[];
  /** Let traffic pass in clear when the agent is away. Default of the mesh is false: refuse. */
  readonly failOpen: boolean;
  /** The only ports for which the kubelet's exemption holds, for kubelets whose cgroup is shared with other things. */
  readonly probePorts?: readonly number[];
  /** Absent: the first usable backend, eBPF preferred. */
  readonly backend?: BackendKind;
}

/** `external`: somebody else redirects the pod's traffic. */
export type CapturedBy = BackendKind | "external";

/** An enrolled pod. Descriptors of `listeners` belong to whoever takes the pod (the engine); `netns.fd` stays with capture. */
export interface CapturedPod {
  readonly uid: string;
  readonly backend: CapturedBy;
  readonly netns: Netns;
  readonly addresses: readonly string[];
  readonly listeners: readonly PodListener[];
  readonly originalDestination: OriginalDestination;
  readonly marks: SocketMarks;
}

/** Events that the kernel raised: a cgroup of pods connected from a netns nobody enrolled, or a packet met no listener. */
export interface CaptureEvent {
  readonly kind: "unknown-netns-connected" | "no-listener";
  readonly cookie: bigint;
  readonly cgroupId: bigint;
  readonly pid: number;
}

export interface Capture {
  readonly support: KernelSupport;
  readonly sockets: SocketOps;
  /** Idempotent by uid and netns identity: an already captured pod gets fresh listeners, steering switches to them atomically. */
  enrol(request: CaptureRequest, signal: AbortSignal): Promise<CapturedPod>;
  /** Sends a connection through the real path from inside the pod and waits for it on the listener; throws naming what failed. */
  probe(uid: string, signal: AbortSignal): Promise<void>;
  /** New addresses of an enrolled pod. */
  update(uid: string, addresses: readonly string[]): Promise<void>;
  /** Removes every trace from the pod's netns, maps and pins. */
  release(uid: string): Promise<void>;
  /** Exempts connections made from a cgroup by exact 4-tuple: the kubelet's probes, or the agent's deliveries. */
  exempt(cgroupPath: string, kind: "kubelet" | "agent"): Promise<void>;
  /** Pins and rules left by earlier agents: adopted if a pod with that uid is enrolled again, removed by this call otherwise. */
  collectGarbage(liveUids: ReadonlySet<string>): Promise<readonly string[]>;
  /** Counters by name (drop and pass reasons of the BPF programs). */
  stats(): Readonly<Record<string, number>>;
  onEvent(listener: (event: CaptureEvent) => void): () => void;
  /** Detaches nothing: pinned state stays so that a restart adopts it. Closes descriptors. May be called twice. */
  close(): Promise<void>;
}
