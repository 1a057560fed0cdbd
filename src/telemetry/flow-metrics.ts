/**
 * The `istio_tcp_*` families with Istio's labels, so that Kiali and stock dashboards read them as they are. Flows reach this code
 * when they end, and the open ones once per scrape, so that long-lived connections count while they live.
 *
 * Label sets are bounded: unused ones are dropped, and above the limit new ones share a series whose labels read `other`. Each
 * series keeps its label text as the bytes that a scraper is sent, so that a scrape of thousands of them copies memory and no more.
 */
import type { FlowLabel } from "../model/flow-label.ts";
import { reasonInfo } from "../model/reason.ts";
import type { LocalPod, Workload } from "../model/workload.ts";
import { familyHead, labelsText } from "./exposition.ts";
import { type FlowProgress, type FlowRecord, type FlowRole, reporterOf, securityOf } from "./flow-record.ts";

export interface FlowMetricsDeps {
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

export interface FlowMetricsOptions {
  /** Most label sets kept. */
  readonly series: number;
  /** A label set that nothing was added to for this long is dropped. */
  readonly seriesIdleMs: number;
}

/** The two things a flow's labels come from besides the flow itself. */
export interface FlowContext {
  readonly label: FlowLabel;
  readonly pod: LocalPod | undefined;
}

const families = {
  opened: ["istio_tcp_connections_opened_total", "Connections opened."],
  closed: ["istio_tcp_connections_closed_total", "Connections closed."],
  failed: ["istio_tcp_connections_failed_total", "Connections that were refused or could not be carried."],
  received: ["istio_tcp_received_bytes_total", "Bytes from client to server."],
  sent: ["istio_tcp_sent_bytes_total", "Bytes from server to client."],
} as const;

type Family = keyof typeof families;
const familyNames = Object.keys(families) as Family[];

/** One write to a socket. Some forty samples, which are written in a hundredth of a millisecond; the write takes ten times that. */
const pieceBytes = 32 * 1024;
/** Label sets looked at for a piece, however few of them have a value to tell. */
const seriesPerPiece = 1024;
/** A number as the format has it, with what stands around it. */
const valueBytes = 40;

/** Open flows counted before the event loop turns: a tenth of a millisecond. */
const flowsPerTurn = 64;

interface Series extends Record<Family, number> {
  readonly labels: Buffer;
  /** Flows that are open: while there are any it is in use, whatever its age. */
  open: number;
  usedAt: number;
  dropped: boolean;
}

/** What of a flow has been counted while it was open. */
interface Counted {
  readonly series: Series;
  sent: number;
  received: number;
  /** The count that saw it last. */
  seen: number;
}

export class FlowMetrics {
  readonly #deps: FlowMetricsDeps;
  readonly #options: FlowMetricsOptions;
  readonly #series = new Map<string, Series>();
  /** The driver interns labels, so the same talk has the same object: no text is built for a flow like one before. */
  readonly #byLabel = new WeakMap<FlowLabel, Map<string, Series>>();
  readonly #open = new Map<number, Counted>();
  #counts = 0;
  /** Of each count under way, the flows that have ended since it began. */
  readonly #endedMeanwhile = new Set<Set<number>>();
  #evicted = 0;
  #overflowed = 0;

  constructor(deps: FlowMetricsDeps, options: FlowMetricsOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  flowClosed(record: FlowRecord, context: FlowContext): void {
    const { flags, status } = reasonInfo(record.reason);
    const before = this.#open.get(record.flow);
    this.#forget(record.flow);
    for (const ended of this.#endedMeanwhile) ended.add(record.flow);
    const series = before?.series ?? this.#find(record, context, "-");
    this.#count(series, before, record);
    const closing = flags === "-" ? series : this.#find(record, context, flags);
    closing.closed++;
    if (status !== 200) closing.failed++;
    closing.usedAt = this.#deps.now();
  }

  /**
   * Counts what open flows have moved since the last time, with all of them before a scrape. The caller lets the event loop turn at each
   * step: a flow may end meanwhile, and another count may run.
   */
  *countOpen(flows: Iterable<FlowProgress & { readonly context: FlowContext }>): Generator<void, void, void> {
    const count = ++this.#counts;
    const ended = new Set<number>();
    this.#endedMeanwhile.add(ended);
    try {
      let visited = 0;
      for (const flow of flows) {
        // Nothing is known about a flow that has not gone anywhere yet: it may still become a refusal.
        if (flow.target !== undefined && !ended.has(flow.flow)) this.#countRow(flow, count);
        if (++visited % flowsPerTurn === 0) yield;
      }
      for (const [flow, { seen }] of this.#open) if (seen < count) this.#forget(flow);
    } finally {
      this.#endedMeanwhile.delete(ended);
    }
  }

  /**
   * The families in Prometheus' text format, in pieces of whole lines, so that the reader can rest between them: what says what a family
   * is as text, because it differs between formats, and samples, which do not, as bytes.
   */
  *pieces(): Generator<string | Buffer, void, void> {
    this.#evict();
    for (const family of familyNames) {
      const [name, help] = families[family];
      yield familyHead(name, help, "counter");
      yield* this.#samples(family, Buffer.from(`${name}{`));
    }
  }

  *#samples(family: Family, start: Buffer): Generator<Buffer, void, void> {
    let piece = Buffer.allocUnsafe(pieceBytes);
    let length = 0;
    let visited = 0;
    for (const { labels, [family]: value } of this.#series.values()) {
      const most = start.length + labels.length + valueBytes;
      if (length + most > piece.length || ++visited % seriesPerPiece === 0) {
        yield piece.subarray(0, length);
        piece = Buffer.allocUnsafe(Math.max(pieceBytes, most));
        length = 0;
      }
      if (value === 0) continue;
      piece.set(start, length);
      piece.set(labels, length + start.length);
      length += start.length + labels.length;
      length += piece.write(`} ${value}\n`, length, "latin1");
    }
    yield piece.subarray(0, length);
  }

  stats(): Readonly<Record<"series" | "evictedTotal" | "overflowedTotal", number>> {
    return { series: this.#series.size, evictedTotal: this.#evicted, overflowedTotal: this.#overflowed };
  }

  #countRow(flow: FlowProgress & { readonly context: FlowContext }, count: number): void {
    const before = this.#open.get(flow.flow);
    // A later count was faster and saw more.
    if (before !== undefined && before.seen > count) return;
    const series = before?.series ?? this.#find(flow, flow.context, "-");
    this.#count(series, before, flow);
    if (before === undefined) {
      series.open++;
      this.#open.set(flow.flow, { series, sent: flow.bytesSent, received: flow.bytesReceived, seen: count });
    } else {
      before.sent = flow.bytesSent;
      before.received = flow.bytesReceived;
      before.seen = count;
    }
  }

  #forget(flow: number): void {
    const counted = this.#open.get(flow);
    if (counted === undefined) return;
    counted.series.open--;
    this.#open.delete(flow);
  }

  #count(series: Series, before: Counted | undefined, flow: FlowProgress): void {
    if (before === undefined) series.opened++;
    series.received += flow.bytesSent - (before?.sent ?? 0);
    series.sent += flow.bytesReceived - (before?.received ?? 0);
    series.usedAt = this.#deps.now();
  }

  #find(flow: FlowProgress, { label, pod }: FlowContext, flags: string): Series {
    // Everything the labels hold beyond the label object itself.
    const variant = `${flow.role} ${securityOf(flow, label)} ${flags} ${flow.peer} ${pod?.identity ?? ""}`;
    const variants = this.#byLabel.get(label) ?? new Map<string, Series>();
    this.#byLabel.set(label, variants);
    const known = variants.get(variant);
    if (known?.dropped === false) return known;
    const series = this.#intern(flow, { label, pod }, flags);
    variants.set(variant, series);
    return series;
  }

  #intern(flow: FlowProgress, context: FlowContext, flags: string): Series {
    const labels = renderLabels(labelsOf(flow, context, flags));
    const known = this.#series.get(labels);
    if (known !== undefined) return known;
    if (this.#series.size >= this.#options.series) this.#evict();
    if (this.#series.size < this.#options.series) return this.#create(labels);
    this.#overflowed++;
    const other = renderLabels(overflowLabels(flow.role, securityOf(flow, context.label), flags));
    return this.#series.get(other) ?? this.#create(other);
  }

  #create(labels: string): Series {
    const series: Series = {
      labels: Buffer.from(labels),
      open: 0,
      opened: 0,
      closed: 0,
      failed: 0,
      received: 0,
      sent: 0,
      usedAt: this.#deps.now(),
      dropped: false,
    };
    this.#series.set(labels, series);
    return series;
  }

  /** Drops what nothing was added to for long enough. */
  #evict(): void {
    const oldest = this.#deps.now() - this.#options.seriesIdleMs;
    for (const [key, series] of this.#series) {
      if (series.usedAt >= oldest || series.open > 0) continue;
      this.#series.delete(key);
      series.dropped = true;
      this.#evicted++;
    }
  }
}

type Labels = readonly (readonly [name: string, value: string])[];

function labelsOf(flow: FlowProgress, { label, pod }: FlowContext, flags: string): Labels {
  const outbound = flow.role === "outbound";
  const security = securityOf(flow, label);
  // Principals come from the handshake, or from the netns that an end's socket is in: what the mesh believes about an address proves nothing.
  const own = security === "mutual_tls" || security === "local" ? (pod?.identity ?? "") : "";
  const { service } = label;
  return [
    ["reporter", reporterOf(flow.role)],
    ...workloadLabels("source", label.source, outbound ? own : flow.peer),
    ["destination_service", service?.hostname ?? ""],
    ["destination_service_namespace", service?.namespace ?? label.destination?.namespace ?? ""],
    ["destination_service_name", service?.name ?? ""],
    ...workloadLabels("destination", label.destination, outbound ? flow.peer : own),
    ["request_protocol", "tcp"],
    ["response_flags", flags],
    ["connection_security_policy", security],
  ];
}

function workloadLabels(side: "source" | "destination", workload: Workload | undefined, principal: string): Labels {
  return [
    [`${side}_workload`, workload?.owner.name ?? ""],
    [`${side}_workload_namespace`, workload?.namespace ?? ""],
    [`${side}_canonical_service`, workload?.canonicalName ?? ""],
    [`${side}_canonical_revision`, workload?.canonicalRevision ?? ""],
    [`${side}_principal`, principal],
    [`${side}_app`, workload?.labels.get("app") ?? workload?.canonicalName ?? ""],
    [`${side}_version`, workload?.labels.get("version") ?? workload?.canonicalRevision ?? ""],
    [`${side}_cluster`, workload?.cluster ?? ""],
  ];
}

/** The same label names as any other series, so that queries which group by them still see these connections. */
function overflowLabels(role: FlowRole, security: string, flags: string): Labels {
  const kept = new Map([
    ["reporter", reporterOf(role)],
    ["request_protocol", "tcp"],
    ["response_flags", flags],
    ["connection_security_policy", security],
  ]);
  const names = labelsOf(emptyFlow, { label: emptyLabel, pod: undefined }, "").map(([name]) => name);
  return names.map((name) => [name, kept.get(name) ?? "other"]);
}

const nowhere = { address: "", port: 0 };
const emptyLabel: FlowLabel = { source: undefined, destination: undefined, service: undefined, policy: "", shadow: [] };
const emptyFlow: FlowProgress = {
  flow: 0,
  role: "outbound",
  source: nowhere,
  destination: nowhere,
  target: undefined,
  peer: "",
  tunnel: 0,
  bytesSent: 0,
  bytesReceived: 0,
};

function renderLabels(labels: Labels): string {
  return labelsText(labels.map(([name, value]) => [name, value === "" ? "unknown" : value]));
}
