/** One HTTP request that was judged by itself, as its end is told; the shape that `tunnel/http` reports, without knowing it. */
import { formatHostPort } from "../lib/host-port.ts";
import type { SocketAddress } from "../model/address.ts";
import type { ShadowMatch } from "../model/authorization.ts";
import type { Identity } from "../model/identity.ts";
import { type Reason, reasonInfo } from "../model/reason.ts";
import type { LocalPod } from "../model/workload.ts";
import type { FieldValue } from "./line-format.ts";

export interface RequestRecord {
  readonly flow: {
    readonly flow: number;
    readonly peer: Identity | "";
    readonly source: SocketAddress;
    readonly destination: SocketAddress;
  };
  readonly protocol: string;
  readonly method: string;
  readonly host: string;
  /** As policies saw it, without the query. */
  readonly path: string;
  /** What the client was answered, 0 for nothing. */
  readonly status: number;
  readonly reason: Reason;
  readonly detail: string;
  readonly policy: string;
  /** -1 when none matched. */
  readonly rule: number;
  readonly shadow: readonly ShadowMatch[];
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly durationMs: number;
}

/** The access log's fields in order. */
export function requestFields(
  record: RequestRecord,
  pod: LocalPod | undefined,
): readonly (readonly [string, FieldValue])[] {
  const { flow, reason } = record;
  const info = reasonInfo(reason);
  return [
    ["src.addr", text(flow.source)],
    ["src.identity", flow.peer],
    ["dst.addr", text(flow.destination)],
    ["dst.workload", pod?.name],
    ["dst.namespace", pod?.namespace],
    ["protocol", record.protocol],
    ["method", record.method],
    ["host", record.host],
    ["path", record.path],
    ["status", record.status === 0 ? undefined : record.status],
    // From the point of view of the pod that this agent speaks for, as for connections.
    ["bytes_sent", record.bytesReceived],
    ["bytes_recv", record.bytesSent],
    ["duration", `${Math.round(record.durationMs)}ms`],
    ["flow", flow.flow],
    ["reason", reason],
    ["policy", record.policy],
    ["rule", record.rule === -1 ? undefined : record.rule],
    ["shadow", record.shadow.map(({ policy, action }) => `${policy}:${action}`).join(",")],
    ["error", info.status === 200 ? undefined : info.text],
    ["detail", record.detail],
  ];
}

function text({ address, port }: SocketAddress): string {
  return formatHostPort(address, port);
}
