/** What differs between the backends: how traffic is steered to a pod's listeners. Everything else is in `node-capture.ts`. */
import type { OriginalDestination, PodListener } from "../model/sockets.ts";
import type { ListenOptions } from "./addon.ts";
import type { BackendKind, CaptureEvent, Netns } from "./capture.ts";

/** The ports that the agent listens on in every enrolled pod. */
export interface CapturePorts {
  readonly outbound: number;
  readonly inbound: number;
  readonly hbone: number;
}

/** An enrolled pod as backends see it. */
export interface PodSubject {
  readonly uid: string;
  readonly netns: Netns;
  readonly addresses: readonly string[];
  readonly failOpen: boolean;
  readonly probePorts: readonly number[] | undefined;
}

export interface CaptureBackend {
  readonly kind: BackendKind;
  /** What it does without although it works, in words; undefined when nothing. */
  readonly degraded: string | undefined;
  originalDestination(netns: Netns): OriginalDestination;
  /** Where a listener is bound instead when its port is taken: steering needs no particular port. */
  elsewhere(family: 4 | 6): Pick<ListenOptions, "address" | "port" | "transparent">;
  /** New connections go to these listeners from the return of this call on; idempotent, a switch of listeners is atomic. */
  steer(pod: PodSubject, listeners: readonly PodListener[]): Promise<void>;
  /** The pod's addresses changed. */
  readdress(pod: PodSubject): Promise<void>;
  /** Undoes `steer` so that nothing is left; idempotent. */
  unsteer(pod: PodSubject): Promise<void>;
  /** Removes what an earlier agent left of this backend for a pod that another backend is about to steer. */
  evict(pod: PodSubject): Promise<void>;
  /** Throws `MESH_PROBE_FAILED` when what steers the pod is not in force any more. */
  verify(pod: PodSubject): Promise<void>;
  /** Whether a stranger's connection can be simulated from inside the pod. */
  readonly probesInbound: boolean;
  exempt(cgroupPath: string, kind: "kubelet" | "agent"): Promise<void>;
  /** Removes what earlier agents left for pods that are neither live nor enrolled; returns their uids. */
  collectGarbage(keep: (uid: string, netnsIno: bigint) => boolean): Promise<readonly string[]>;
  stats(): Readonly<Record<string, number>>;
  onEvent(listener: (event: CaptureEvent) => void): () => void;
  /** Leaves everything in force. */
  close(): Promise<void>;
}
