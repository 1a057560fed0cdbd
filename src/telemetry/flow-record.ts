/**
 * Telemetry describes what the engines report without knowing the engines: these shapes are the parts of their closing records
 * (`FlowClosed`, `FlowRow`, `TunnelInfo`, `TunnelDown`) that access log and metrics read, and the few words derived from them.
 */
import type { SocketAddress } from "../model/address.ts";
import type { FlowLabel } from "../model/flow-label.ts";
import type { Identity } from "../model/identity.ts";
import { hbonePort } from "../model/ports.ts";
import type { Reason } from "../model/reason.ts";

export type FlowRole = "outbound" | "inbound-plaintext" | "inbound-hbone";

/** A flow that is open. */
export interface FlowProgress {
  readonly flow: number;
  readonly role: FlowRole;
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  readonly target: SocketAddress | undefined;
  readonly peer: Identity | "";
  readonly tunnel: number;
  /** From source to destination, and back. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** A flow that has ended. */
export interface FlowRecord extends FlowProgress {
  readonly reason: Reason;
  readonly detail: string;
  /** Of the CONNECT that it went out on or came by, well formed; empty for none, and where connections are not traced. */
  readonly traceparent: string;
  readonly arrivedAt: number;
  readonly connectedMs: number;
  readonly durationMs: number;
}

export interface TunnelRecord {
  readonly tunnel: number;
  readonly direction: "outbound" | "inbound";
  readonly tls: { readonly version: string; readonly group: string; readonly cipher: string };
  readonly setupMs: number;
}

/** Which side of the connection this agent reports for, as Istio's metrics name it. */
export function reporterOf(role: FlowRole): "source" | "destination" {
  return role === "outbound" ? "source" : "destination";
}

/**
 * `mutual_tls` needs a proven peer and `none` needs proof of plaintext: a flow that ended before either is `unknown`, because
 * calling it plaintext would raise false alarms and calling it encrypted would hide real ones. `local` is neither: both identities are
 * known, and there is no TLS because the bytes leave no pod's own loopback but through the agent.
 */
export function securityOf(
  flow: FlowProgress,
  { local }: Pick<FlowLabel, "local">,
): "mutual_tls" | "local" | "none" | "unknown" {
  if (local === true) return "local";
  if (flow.peer !== "") return "mutual_tls";
  if (flow.role === "inbound-plaintext") return "none";
  if (flow.tunnel !== 0 || flow.target === undefined) return "unknown";
  // The way to a tunnel that never came up: nothing of the connection went there.
  return flow.target.port === hbonePort ? "unknown" : "none";
}
