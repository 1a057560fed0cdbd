/** What a tap shows of one flow or request: copied from the engine's records, which are reused. */
import type { SocketAddress } from "../../model/address.ts";
import type { FlowLabel } from "../../model/flow-label.ts";
import type { Identity } from "../../model/identity.ts";
import { type Reason, reasonInfo } from "../../model/reason.ts";
import type { LocalPod, Workload } from "../../model/workload.ts";
import { type FlowProgress, type FlowRecord, type FlowRole, securityOf } from "../flow-record.ts";
import type { RequestRecord } from "../request-record.ts";

export interface TapEndpoint {
  readonly address: SocketAddress;
  readonly workload: Workload | undefined;
  /** Proven by a handshake, or by the netns that the connection came from; empty otherwise. */
  readonly identity: Identity | "";
}

export type TapHappening =
  | { readonly kind: "opened" }
  /** It never got anywhere. */
  | { readonly kind: "refused"; readonly detail: string }
  | {
      readonly kind: "ended";
      readonly bytesSent: number;
      readonly bytesReceived: number;
      readonly durationMs: number;
      readonly detail: string;
    }
  | {
      readonly kind: "request";
      readonly method: string;
      readonly host: string;
      readonly path: string;
      readonly status: number;
      readonly refused: boolean;
    };

export interface TapEvent {
  /** Unix time in milliseconds. */
  readonly at: number;
  readonly flow: number;
  readonly role: FlowRole;
  readonly source: TapEndpoint;
  readonly destination: TapEndpoint;
  readonly service: FlowLabel["service"];
  readonly security: ReturnType<typeof securityOf>;
  /** Empty while the flow is open. */
  readonly reason: Reason | "";
  readonly policy: string;
  readonly podUid: string;
  readonly happened: TapHappening;
}

type Ends = Pick<TapEvent, "flow" | "role" | "source" | "destination" | "service" | "security" | "policy" | "podUid">;

/** The parts that every event of a flow has. */
export function endsOf(flow: FlowProgress, label: FlowLabel, pod: LocalPod | undefined): Ends {
  const outbound = flow.role === "outbound";
  const security = securityOf(flow, label);
  const own = security === "mutual_tls" || security === "local" ? (pod?.identity ?? "") : "";
  // Over a tunnel the target is the peer's HBONE port; what was asked for says more.
  const went = flow.tunnel === 0 && outbound ? (flow.target ?? flow.destination) : flow.destination;
  return {
    flow: flow.flow,
    role: flow.role,
    source: { address: { ...flow.source }, workload: label.source, identity: outbound ? own : flow.peer },
    destination: { address: { ...went }, workload: label.destination, identity: outbound ? flow.peer : own },
    service: label.service,
    security,
    policy: label.policy,
    podUid: pod?.uid ?? "",
  };
}

export function endedEvent(record: FlowRecord, ends: Ends, at: number): TapEvent {
  const { reason, detail, bytesSent, bytesReceived, durationMs } = record;
  const refused = record.target === undefined && reasonInfo(reason).status !== 200;
  const happened: TapHappening = refused
    ? { kind: "refused", detail }
    : { kind: "ended", bytesSent, bytesReceived, durationMs, detail };
  return { ...ends, at, reason, happened };
}

export function requestEvent(
  record: RequestRecord,
  pod: LocalPod | undefined,
  workloads: { readonly source: Workload | undefined; readonly destination: Workload | undefined },
  at: number,
): TapEvent {
  const { flow, method, host, path, status, reason, policy } = record;
  const proven = flow.peer !== "";
  return {
    at,
    flow: flow.flow,
    role: proven ? "inbound-hbone" : "inbound-plaintext",
    source: { address: { ...flow.source }, workload: workloads.source, identity: flow.peer },
    destination: {
      address: { ...flow.destination },
      workload: workloads.destination,
      identity: proven ? (pod?.identity ?? "") : "",
    },
    service: undefined,
    security: proven ? "mutual_tls" : "none",
    reason,
    policy,
    podUid: pod?.uid ?? "",
    happened: { kind: "request", method, host, path, status, refused: reasonInfo(reason).flags === "DENY" },
  };
}
