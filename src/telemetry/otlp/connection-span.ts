/**
 * One end of a connection as a span. Its trace is the tunnel's `traceparent`: the source's agent made it, and what stands in it is the
 * source's own span, which is the parent of the destination's. An end that no CONNECT led to, or whose peer sent none, begins a trace.
 */
import { randomBytes } from "node:crypto";
import { type Attributes, type SpanContext, SpanKind, SpanStatusCode, TraceFlags } from "@opentelemetry/api";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { parseTraceparent } from "../../lib/traceparent.ts";
import type { FlowLabel } from "../../model/flow-label.ts";
import { reasonInfo } from "../../model/reason.ts";
import type { LocalPod } from "../../model/workload.ts";
import { flowEnds } from "../flow-ends.ts";
import { type FlowRecord, securityOf } from "../flow-record.ts";
import { redact } from "../redact.ts";
import { hrTime } from "./collector.ts";

export interface SpanPlace {
  readonly span: SpanContext;
  readonly parent: SpanContext | undefined;
}

/**
 * Undefined for a connection that is not traced: who began the trace has decided that (W3C Trace Context §3.2.2.5.1), and
 * `samplesRoot` is asked only where nobody has.
 */
export function spanPlace(
  { traceparent, role }: Pick<FlowRecord, "traceparent" | "role">,
  samplesRoot: () => boolean,
): SpanPlace | undefined {
  const sent = parseTraceparent(traceparent);
  const traceFlags = TraceFlags.SAMPLED;
  const newSpan = () => randomBytes(8).toString("hex");
  if (sent === undefined) {
    if (!samplesRoot()) return undefined;
    return { span: { traceId: randomBytes(16).toString("hex"), spanId: newSpan(), traceFlags }, parent: undefined };
  }
  if (!sent.sampled) return undefined;
  const { traceId, spanId } = sent;
  if (role === "outbound") return { span: { traceId, spanId, traceFlags }, parent: undefined };
  return {
    span: { traceId, spanId: newSpan(), traceFlags },
    parent: { traceId, spanId, traceFlags, isRemote: true },
  };
}

export function connectionSpan(
  { span, parent }: SpanPlace,
  told: { readonly record: FlowRecord; readonly label: FlowLabel; readonly pod: LocalPod | undefined },
  from: Pick<ReadableSpan, "resource" | "instrumentationScope">,
): ReadableSpan {
  const { record } = told;
  const info = reasonInfo(record.reason);
  const outbound = record.role === "outbound";
  const connected = record.connectedMs < 0 ? [] : [record.arrivedAt + record.connectedMs];
  return {
    name: outbound ? "outbound connection" : "inbound connection",
    kind: outbound ? SpanKind.CLIENT : SpanKind.SERVER,
    spanContext: () => span,
    ...(parent === undefined ? {} : { parentSpanContext: parent }),
    startTime: hrTime(record.arrivedAt),
    endTime: hrTime(record.arrivedAt + Math.max(0, record.durationMs)),
    duration: hrTime(Math.max(0, record.durationMs)),
    ended: true,
    status:
      info.status === 200
        ? { code: SpanStatusCode.UNSET }
        : {
            code: SpanStatusCode.ERROR,
            message: redact(record.detail === "" ? info.text : `${info.text}: ${record.detail}`),
          },
    attributes: attributesOf(told),
    events: connected.map((at) => ({ name: "connected", time: hrTime(at), attributes: {}, droppedAttributesCount: 0 })),
    links: [],
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
    ...from,
  };
}

/** Names of OpenTelemetry's semantic conventions where they have one, under `warren.` where they have none. */
function attributesOf({ record, label, pod }: Parameters<typeof connectionSpan>[1]): Attributes {
  const outbound = record.role === "outbound";
  const peer = outbound ? record.target : record.source;
  const { source, destination } = flowEnds(record, label, pod);
  const all: Attributes = {
    "network.transport": "tcp",
    "network.type": record.source.address.includes(":") ? "ipv6" : "ipv4",
    "network.peer.address": peer?.address,
    "network.peer.port": peer?.port,
    "source.address": record.source.address,
    "source.port": record.source.port,
    "destination.address": record.destination.address,
    "destination.port": record.destination.port,
    "server.address": label.service?.hostname ?? record.destination.address,
    "server.port": record.destination.port,
    "k8s.namespace.name": pod?.namespace,
    "k8s.pod.name": pod?.name,
    "k8s.pod.uid": pod?.uid,
    "error.type": reasonInfo(record.reason).status === 200 ? undefined : record.reason,
    "warren.reason": record.reason,
    "warren.security": securityOf(record, label),
    "warren.policy": label.policy,
    "warren.flow": record.flow,
    "warren.bytes.sent": record.bytesSent,
    "warren.bytes.received": record.bytesReceived,
    "warren.source.identity": source.identity,
    "warren.source.workload": source.workload,
    "warren.source.namespace": source.namespace,
    "warren.destination.identity": destination.identity,
    "warren.destination.workload": destination.workload,
    "warren.destination.namespace": destination.namespace,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined && value !== ""));
}
