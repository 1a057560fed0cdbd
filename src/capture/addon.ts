/**
 * The typed face of `native/capture`: network namespaces, sockets of pods, BPF and nftables. The addon checks no argument types
 * and has no defaults; whatever goes wrong there arrives here as a `CaptureError` with a stable code.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { messageOf } from "../lib/errors.ts";
import type { SocketAddress } from "../model/address.ts";
import type { PodListener, SocketOps } from "../model/sockets.ts";
import type { CaptureEvent, Netns } from "./capture.ts";
import { CaptureError } from "./errors.ts";

export interface ListenOptions {
  readonly family: 4 | 6;
  /** 0 for any free port. */
  readonly port: number;
  /** Absent: all addresses of the family. */
  readonly address?: string;
  readonly backlog: number;
  /** May be bound to an address that is not one of the netns (IP_TRANSPARENT). */
  readonly transparent: boolean;
  readonly reusePort: boolean;
}

export interface InterfaceAddress {
  readonly interface: string;
  /** Canonical IP text without a zone. */
  readonly address: string;
}

export interface KernelProbe {
  readonly release: string;
  /** What eBPF capture would need and the kernel refused, in words. */
  readonly ebpfMissing: readonly string[];
}

/** Packets with the mark are local to the netns whatever their address, and connections answer with the mark of their SYN. */
export interface DeliveryRouting {
  readonly families: readonly (4 | 6)[];
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
  readonly priority: number;
}

export interface ProbeRequest {
  /** The cgroup that the probing process, and so its socket, belongs to. */
  readonly cgroup: string;
  readonly family: 4 | 6;
  readonly destination: string;
  readonly port: number;
  /** Given: pose as this stranger (IP_TRANSPARENT, with the mark that brings answers back). */
  readonly sourceAddress?: string;
  readonly mark: number;
}

/** One TCP or UDP socket of a netns, as the kernel tells of it. */
export interface SocketRow {
  readonly protocol: "tcp" | "udp";
  /** A UDP socket that is bound and not connected listens. */
  readonly state: "listening" | "open";
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly mark: number;
  /** Names the socket as long as the kernel runs. */
  readonly cookie: bigint;
  /** Opened, or accepted on a listener opened, in this process's cgroup. */
  readonly own: boolean;
}

export interface SteeringOptions {
  /** On a BPF file system; holds `maps/`, `links/` and `pods/`. */
  readonly directory: string;
  readonly podsCgroup: string;
}

export interface PodAttachment {
  /** Where the link is pinned; its folder exists. */
  readonly pin: string;
  readonly netnsIno: bigint;
  readonly cookie: bigint;
  readonly outboundPort: number;
  readonly hbonePort: number;
}

export interface PodSteering {
  readonly addresses: readonly string[];
  readonly outboundPort: number;
  readonly failOpen: boolean;
  /** Absent: the kubelet's exemption holds for every port. */
  readonly probePorts?: readonly number[];
}

/** The BPF programs and maps, pinned: they outlive this object and this process. */
export interface Steering {
  /** Why raw sockets are not guarded against; undefined when they are. */
  readonly guardFailure: string | undefined;
  /** Belongs to this object. */
  readonly originalDestinationMapFd: number;
  /** Links on the pods' cgroup that somebody detached or unpinned, by name. */
  lostLinks(): readonly string[];
  /** Attaches and pins those anew. */
  repair(): void;
  /** Attaches a pod's sk_lookup program, or replaces the one in the pinned link. */
  attachPod(netnsFd: number, attachment: PodAttachment): Promise<void>;
  /** The pod's sk_lookup program runs no more when this returns; its pin is the caller's to remove. */
  detachPod(pin: string): void;
  /** Outbound capture begins. */
  setPod(cookie: bigint, pod: PodSteering): void;
  /** Outbound capture ends; everything else kept under the cookie goes. */
  deletePod(cookie: bigint): void;
  knownCookies(): bigint[];
  /** Of the netns that a pinned link is attached to; 0 when that is gone. */
  pinnedNetnsInode(pin: string): bigint;
  /** From the return of this call on, new connections arrive at this socket. */
  setListener(cookie: bigint, listener: PodListener): void;
  exempt(cgroupPath: string, kind: "kubelet" | "agent"): void;
  configure(settings: { readonly hostNetnsCookie: bigint; readonly heartbeatTimeoutMs: number }): void;
  heartbeat(): void;
  counters(): Record<string, number>;
  /** One listener for the life of the object; never keeps the event loop alive. */
  onEvent(listener: (event: CaptureEvent) => void): void;
  close(): void;
}

/** One message of a unix SOCK_SEQPACKET socket; whoever gets it owns the descriptors that came along. */
export interface Packet {
  readonly bytes: Uint8Array;
  readonly descriptors: readonly number[];
}

export interface SeqpacketChannel {
  /** Throws when the peer is gone or does not read. */
  send(bytes: Uint8Array): void;
  /** Neither listener is called after it. */
  close(): void;
}

/** Who is at the other end of a unix socket, as the kernel saw it when it connected (SO_PEERCRED). */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface CaptureAddon extends SocketOps {
  /** Opens a netns by path and proves that it is one. The caller owns the descriptor. */
  netnsOpen(path: string): Netns;
  /** Every address of every interface in the netns. */
  netnsAddresses(netnsFd: number): Promise<readonly InterfaceAddress[]>;
  /** A listening, non-blocking, close-on-exec socket in the netns. The caller owns the descriptor. */
  listen(netnsFd: number, options: ListenOptions): Promise<number>;
  /** The port that a socket is bound to; 0 for none. */
  localPort(socketFd: number): number;
  probeKernel(): Promise<KernelProbe>;
  /** Idempotent. */
  addDeliveryRouting(netnsFd: number, routing: DeliveryRouting): Promise<void>;
  /** Idempotent. */
  removeDeliveryRouting(netnsFd: number, routing: DeliveryRouting): Promise<void>;
  /** Runs nft commands in the netns as one transaction; resolves to what they print. */
  nft(netnsFd: number, commands: string): Promise<string>;
  /** The same in a netns that exists for this call only. */
  nftTry(commands: string): Promise<string>;
  /** A connecting socket that a process of that cgroup opened in the netns. The caller owns the descriptor. */
  probe(netnsFd: number, request: ProbeRequest): Promise<number>;
  /** TCP sockets of the netns that listen or carry data, and bound UDP sockets. */
  listSockets(netnsFd: number): Promise<readonly SocketRow[]>;
  /** Resets TCP connections by cookie; resolves to how many. Rejects where the kernel can't (CONFIG_INET_DIAG_DESTROY). */
  abortConnections(netnsFd: number, cookies: readonly bigint[]): Promise<number>;
  openSteering(options: SteeringOptions): Promise<Steering>;
  /** Connects to a SOCK_SEQPACKET socket; throws when nobody listens. Never keeps the event loop alive. */
  connectSeqpacket(
    path: string,
    onPacket: (packet: Packet) => void,
    /** Called once, with why there will be no more packets. */
    onEnd: (why: string) => void,
  ): SeqpacketChannel;
  peerCredentials(socketFd: number): PeerCredentials;
  /**
   * Gives memory that was freed back to the kernel, and unmaps the program's own pages: they come back out of the page cache when they
   * are used next. Takes the allocator's locks, and a millisecond or some.
   */
  trimMemory(): void;
}

interface RawAddon extends CaptureAddon {
  useErrorClass(errorClass: typeof CaptureError): void;
}

/** The built addon, two folders above this file from `src/` and from `dist/` alike. */
export const addonPath: string = fileURLToPath(
  new URL("../../build/native/addons/warren_capture.node", import.meta.url),
);

/** Loads the addon; the same object for every caller in the process. */
export function loadCaptureAddon(path: string = addonPath): CaptureAddon {
  let addon: RawAddon;
  try {
    addon = createRequire(import.meta.url)(path) as RawAddon;
  } catch (error) {
    throw new CaptureError(
      "MESH_ADDON_MISSING",
      `cannot load the capture addon from ${path}: ${messageOf(error)}; build it with \`make\``,
      { cause: error },
    );
  }
  addon.useErrorClass(CaptureError);
  return addon;
}
