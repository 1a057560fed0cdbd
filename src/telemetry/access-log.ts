/**
 * The access log: one line per connection, and per request where requests are judged, when it ends. Field names are those that ztunnel's readers know, with the reason code
 * and the deciding policy added. Lines go straight to the sink as text or JSON without passing a logger: this runs once per
 * connection on the thread that also decides.
 */
import { formatHostPort } from "../lib/host-port.ts";
import { parseTraceparent } from "../lib/traceparent.ts";
import type { SocketAddress } from "../model/address.ts";
import type { FlowLabel } from "../model/flow-label.ts";
import { type Reason, reasonInfo } from "../model/reason.ts";
import type { LocalPod } from "../model/workload.ts";
import { type AccessChoice, wantsAccessLine } from "./access-choice.ts";
import { flowEnds } from "./flow-ends.ts";
import { type FlowRecord, securityOf } from "./flow-record.ts";
import { type FieldValue, fieldsText, type LogFormat } from "./line-format.ts";
import type { LineSink } from "./line-sink.ts";
import { type RequestRecord, requestFields } from "./request-record.ts";

type AccessLevel = "info" | "warn" | "error";

/** A line before it is written. */
export interface AccessEntry {
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly level: AccessLevel;
  readonly message: string;
  readonly fields: readonly (readonly [string, FieldValue])[];
}

/** Where lines go beside the sink; must take them without delay. */
export interface AccessExport {
  accessEnded(entry: AccessEntry): void;
}

export interface AccessLogDeps {
  readonly exported?: AccessExport;
  readonly sink: LineSink;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export interface AccessLogOptions extends AccessChoice {
  readonly format: LogFormat;
}

export class AccessLog {
  readonly #deps: AccessLogDeps;
  readonly #options: AccessLogOptions;

  constructor(deps: AccessLogDeps, options: AccessLogOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void {
    if (this.#wants(record.reason, pod)) this.#write("connection", record.reason, accessFields(record, label, pod));
  }

  requestEnded(record: RequestRecord, pod: LocalPod | undefined): void {
    if (this.#wants(record.reason, pod)) this.#write("request", record.reason, requestFields(record, pod));
  }

  #wants(reason: Reason, pod: LocalPod | undefined): boolean {
    const end = { namespace: pod?.namespace, succeeded: reasonInfo(reason).status === 200 };
    return wantsAccessLine(this.#options, end, this.#deps.random);
  }

  #write(what: "connection" | "request", reason: Reason, fields: readonly (readonly [string, FieldValue])[]): void {
    const now = this.#deps.now();
    const time = new Date(now).toISOString();
    const level = levelOf(reason);
    const message = `${what} ${reasonInfo(reason).status === 200 ? "complete" : "failed"}`;
    this.#deps.exported?.accessEnded({ time: now, level, message, fields });
    if (this.#options.format === "text") {
      this.#deps.sink.write(`${time} ${level.padEnd(5)} access ${message} ${fieldsText(fields)}\n`);
    } else {
      const present = [...fields].filter(([, value]) => value !== undefined && value !== "");
      const line = { level, time, scope: "access", message, ...Object.fromEntries(present) };
      this.#deps.sink.write(`${JSON.stringify(line)}\n`);
    }
  }
}

/** A refusal is the mesh at work; a failure is something to look at. */
function levelOf(reason: Reason): AccessLevel {
  const { status, flags } = reasonInfo(reason);
  if (status === 200) return "info";
  return flags === "DENY" || flags === "CERT_REVOKED" ? "warn" : "error";
}

/** The line's fields in order; those without a value are left out by the writer. */
export function accessFields(
  record: FlowRecord,
  label: FlowLabel,
  pod: LocalPod | undefined,
): readonly (readonly [string, FieldValue])[] {
  const outbound = record.role === "outbound";
  const security = securityOf(record, label);
  const { source, destination } = flowEnds(record, label, pod);
  const went = record.target ?? record.destination;
  const info = reasonInfo(record.reason);
  const failed = info.status !== 200;
  return [
    ["src.addr", text(record.source)],
    ["src.workload", source.workload],
    ["src.namespace", source.namespace],
    ["src.identity", source.identity],
    ["dst.addr", text(went)],
    ["dst.hbone_addr", record.role === "inbound-hbone" ? text(record.destination) : undefined],
    ["dst.original_addr", outbound && text(record.destination) !== text(went) ? text(record.destination) : undefined],
    ["dst.service", label.service?.hostname],
    ["dst.workload", destination.workload],
    ["dst.namespace", destination.namespace],
    ["dst.identity", destination.identity],
    ["direction", outbound ? "outbound" : "inbound"],
    // From the point of view of the pod that this agent speaks for: what it sent, and what it got.
    ["bytes_sent", outbound ? record.bytesSent : record.bytesReceived],
    ["bytes_recv", outbound ? record.bytesReceived : record.bytesSent],
    ["connect", record.connectedMs < 0 ? undefined : `${Math.round(record.connectedMs)}ms`],
    ["duration", `${Math.round(record.durationMs)}ms`],
    ["security", security],
    ["flow", record.flow],
    ["tunnel", record.tunnel === 0 ? undefined : record.tunnel],
    ["trace", parseTraceparent(record.traceparent)?.traceId],
    ["reason", record.reason],
    ["policy", label.policy],
    ["shadow", label.shadow.map(({ policy, action }) => `${policy}:${action}`).join(",")],
    ["error", failed ? (info.hint === "" ? info.text : `${info.text}; ${info.hint}`) : undefined],
    ["detail", record.detail],
  ];
}

function text({ address, port }: SocketAddress): string {
  return formatHostPort(address, port);
}
