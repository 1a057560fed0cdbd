/** One tap event as a line of key=value, or as the plain object that programs get. Pure. */
import { fieldsText } from "../../telemetry/line-format.ts";
import { FlowRole, type TapEvent } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { isoTime } from "../output/words.ts";
import { type ConnectionEnd, endRow, endText, type SecurityWord, securityWord } from "../query/connection-rows.ts";
import { shortIdentity } from "./edge-rows.ts";

/** `req`: a connection, or a request on one. `deny`: refused. `close`: a connection has ended. */
export type TapWord = "req" | "deny" | "close";

export interface TapRow {
  readonly event: TapWord;
  readonly at: string;
  readonly node: string;
  /** `node:flow`; both ends' agents have their own for one connection. */
  readonly id: string;
  /** Which side's agent tells. */
  readonly proxy: "in" | "out";
  readonly source: ConnectionEnd;
  readonly destination: ConnectionEnd;
  /** `namespace/hostname` */
  readonly service: string;
  readonly security: SecurityWord;
  readonly reason: string;
  readonly policy: string;
  readonly detail: string;
  readonly http?: { readonly method: string; readonly host: string; readonly path: string; readonly status: number };
  readonly bytesSent?: number;
  readonly bytesReceived?: number;
  readonly durationMs?: number;
}

/** Undefined for an event of a kind that this program does not know. */
export function tapRow(node: string, event: TapEvent): TapRow | undefined {
  const { kind } = event;
  const base = {
    at: isoTime(event.at),
    node,
    id: `${node}:${event.flow}`,
    proxy: event.role === FlowRole.OUTBOUND ? "out" : "in",
    source: endRow(event.source),
    destination: endRow(event.destination),
    service: event.service,
    security: securityWord(event.security),
    reason: event.reason,
    policy: event.policy,
    detail: "",
  } as const;
  switch (kind.case) {
    case "opened":
      return { ...base, event: "req" };
    case "refused":
      return { ...base, event: "deny", detail: kind.value.detail };
    case "ended": {
      const { bytesSent, bytesReceived, duration, detail } = kind.value;
      const counts = { bytesSent: Number(bytesSent), bytesReceived: Number(bytesReceived), durationMs: duration };
      return { ...base, event: "close", detail, ...counts };
    }
    case "request": {
      const { method, host, path, status } = kind.value;
      const denied = event.reason !== "" && event.reason !== "ok" && status >= 400 && event.policy !== "";
      return { ...base, event: denied || status === 403 ? "deny" : "req", http: { method, host, path, status } };
    }
    case undefined:
      return undefined;
  }
}

export function tapLine(row: TapRow, wide: boolean): string {
  const { source, destination, http } = row;
  const fields = fieldsText([
    ["id", row.id],
    ["proxy", row.proxy],
    ["src", source.address],
    ["dst", destination.address],
    ["tls", tlsText(row.security)],
    ["client", whoText(source)],
    ["server", whoText(destination)],
    ["method", http?.method],
    ["host", http?.host],
    ["path", http?.path],
    ["status", http === undefined || http.status === 0 ? undefined : http.status],
    ["sent", row.bytesSent],
    ["received", row.bytesReceived],
    ["duration", row.durationMs === undefined ? undefined : `${Math.round(row.durationMs)}ms`],
    ["reason", row.reason],
    ["policy", row.policy],
    ["service", wide ? row.service : undefined],
    ["client_id", wide ? source.identity : undefined],
    ["server_id", wide ? destination.identity : undefined],
    ["at", wide ? row.at : undefined],
    ["detail", row.detail],
  ]);
  return `${row.event.padEnd(5)} ${fields}`;
}

/** The word that people look for; traffic inside a node, between two known pods, has no TLS and needs none. */
function tlsText(security: SecurityWord): string {
  switch (security) {
    case "mutual_tls":
      return "true";
    case "none":
      return "false";
    case "local":
      return "local";
    case "unknown":
      return "unknown";
  }
}

function whoText(end: ConnectionEnd): string | undefined {
  if (end.owner !== "") return `${end.namespace}/${end.owner.slice(end.owner.indexOf("/") + 1)}`;
  if (end.identity !== "") return shortIdentity(end.identity);
  return end.pod === "" ? undefined : endText(end);
}
