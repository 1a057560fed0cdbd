/** The sockets of a pod as capture makes them and an engine takes them: plain data, and the two calls that node:net cannot do. */
import type { SocketAddress } from "./address.ts";

/** Which of a pod's listeners accepted: 15001 (captured outbound), 15006 (captured inbound plaintext), 15008 (HBONE). */
export type ListenerRole = "outbound" | "inbound" | "hbone";
/** A listening socket made inside the pod's netns; the engine owns the descriptor once `addPod` returned. */
export interface PodListener {
  readonly role: ListenerRole;
  readonly family: 4 | 6;
  readonly fd: number;
}

/**
 * How the destination that the application asked for is found for a socket accepted on 15001. `map`: look up and delete in the
 * pinned `orig_dst` BPF map, keyed as `bpf/shared.h` says. `conntrack`: getsockopt SO_ORIGINAL_DST / IP6T_SO_ORIGINAL_DST; an
 * answer equal to the socket's own local address means that nothing was redirected, which counts as not found.
 * For 15006 it is the socket's local address with `map` (sk_lookup rewrites nothing) and getsockopt with `conntrack`.
 * `fixed`: one destination for every flow of the pod, for conformance tests and benches that run without capture.
 * Not found means close with `original-destination-lost`, never guess.
 */
export type OriginalDestination =
  | { readonly kind: "map"; readonly mapFd: number; readonly netnsCookie: bigint }
  | { readonly kind: "conntrack" }
  | { readonly kind: "fixed"; readonly destination: SocketAddress };

/** SO_MARK values for sockets opened in a pod's netns: routing hints, never authority. */
export interface SocketMarks {
  /** Sockets that leave the pod: tunnels and plain passthrough. */
  readonly leave: number;
  /** Sockets that deliver to an application in the pod, with a preserved source address. */
  readonly deliver: number;
}

export interface SocketRequest {
  readonly purpose: "leave" | "deliver";
  readonly family: 4 | 6;
  /** Bound with IP_TRANSPARENT / IPV6_TRANSPARENT when given. */
  readonly sourceAddress?: string;
  readonly mark: number;
}

/** What the TypeScript engine needs of the kernel and node:net cannot do. */
export interface SocketOps {
  /** A non-blocking, close-on-exec TCP socket made inside the netns, not yet connected. The caller owns the descriptor. */
  openSocket(netnsFd: number, request: SocketRequest): number;
  /** The destination that the application asked for; undefined means close the connection. */
  originalDestination(
    socketFd: number,
    how: OriginalDestination,
    role: "outbound" | "inbound",
  ): SocketAddress | undefined;
}
