/** What the agent tells of its parts: to the log, to a scrape, to the admin port. Reads only. */
import type { Capture } from "../capture/capture.ts";
import type { CertificateStore } from "../identity/certificate-store.ts";
import { formatDuration } from "../lib/duration.ts";
import { formatHostPort } from "../lib/host-port.ts";
import type { Routes } from "../lib/http-server.ts";
import type { MeshSource } from "../model/mesh.ts";
import { isSelfProbeAddress } from "../model/ports.ts";
import type { LocalPod } from "../model/workload.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import type { LineSink } from "../telemetry/line-sink.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Metrics, MetricsSources } from "../telemetry/metrics.ts";
import { expositionFormat, expositionTypes } from "../telemetry/open-metrics.ts";
import type { RequestRecord } from "../telemetry/request-record.ts";
import { logLevels, type ScopedLog } from "../telemetry/scoped-log.ts";
import type { Driver, PodShare, TunnelTelemetry } from "../tunnel/driver.ts";
import type { DrainReport, EngineLimits, FlowClosed, TunnelInfo } from "../tunnel/engine.ts";
import type { AdminSources } from "./admin.ts";
import type { NodeConfig } from "./config.ts";
import type { Enrolment } from "./enrolment.ts";
import type { Readiness } from "./readiness.ts";
import type { TrafficWatch } from "./traffic-watch.ts";

/** Cut connections that are named in the log when the agent stops; the rest is counted. */
const cutNamed = 20;

/** A source of mesh state that knows what is wrong with its objects. */
export interface ReportingSource extends MeshSource {
  problems(): readonly MeshProblem[];
  onProblems(listener: (all: readonly MeshProblem[]) => void): () => void;
}

/** Where it is wrong, in the source's own words, and what is. */
export interface MeshProblem {
  readonly message: string;
}

/** Parts that exist only once the agent has come that far. */
export interface StartedParts {
  readonly capture: Capture | undefined;
  readonly driver: Driver | undefined;
  readonly enrolment: Enrolment | undefined;
  /** Those in force in the engine. */
  readonly limits: EngineLimits | undefined;
}

export interface RequestTelemetry {
  requestEnded(record: RequestRecord, pod: LocalPod | undefined): void;
  internalError(error: unknown): void;
}

/** Who hears of every flow and request. */
interface Told {
  readonly metrics: Metrics;
  readonly accessLog: AccessLog;
  readonly traffic: Pick<TrafficWatch, "flowClosed" | "requestEnded">;
  /** Where connections go as spans, if they go anywhere. */
  readonly spans: Pick<TunnelTelemetry, "flowClosed"> | undefined;
  readonly log: Logger;
}

/** Every end of a flow, and what happens to tunnels. */
export function tunnelTelemetry({ metrics, accessLog, traffic, spans, log }: Told): TunnelTelemetry {
  const internalError = (error: unknown) => {
    metrics.internalError();
    log.error({ error }, "an internal error was survived");
  };
  // Telling about traffic must not be able to break it: these calls come out of the engine's event handlers.
  const guarded = (tell: () => void) => {
    try {
      tell();
    } catch (error) {
      internalError(error);
    }
  };
  return {
    flowClosed: (record, label, pod) =>
      guarded(() => {
        if (isSelfProbe(record)) return;
        metrics.flowClosed(record, label, pod);
        accessLog.flowClosed(record, label, pod);
        traffic.flowClosed(record, label, pod);
        spans?.flowClosed(record, label, pod);
      }),
    tunnelUp: (info, pod) =>
      guarded(() => {
        log.debug(tunnelFields(info, pod), "tunnel up");
        metrics.tunnelUp(info);
      }),
    tunnelDown: (info, pod) =>
      guarded(() => {
        log.debug({ ...tunnelFields(info, pod), reason: info.reason, detail: info.detail }, "tunnel down");
        metrics.tunnelDown(info);
      }),
    internalError,
  };
}

/** Every end of a request where requests are judged. */
export function requestTelemetry({ metrics, accessLog, traffic, log }: Told): RequestTelemetry {
  const internalError = (error: unknown) => {
    metrics.internalError();
    log.error({ error }, "an internal error was survived");
  };
  return {
    requestEnded: (record, pod) => {
      try {
        metrics.requestEnded(record);
        accessLog.requestEnded(record, pod);
        traffic.requestEnded(record, pod);
      } catch (error) {
        internalError(error);
      }
    },
    internalError,
  };
}

/** A scrape, in the format that the scraper asks for. */
export function metricsAnswer(metrics: Pick<Metrics, "pieces">): Routes[string] {
  return (_url, { accept }) => {
    const format = expositionFormat(accept);
    return { status: 200, type: expositionTypes[format], body: metrics.pieces(format) };
  };
}

export function metricsSources(parts: {
  readonly engineKind: string;
  readonly capture: Capture;
  readonly driver: Driver;
  readonly enrolment: Enrolment;
  readonly store: CertificateStore;
  readonly readiness: Readiness;
  readonly sinks: { readonly agent: LineSink; readonly access: LineSink };
  readonly otlp: MetricsSources["otlp"];
  readonly mesh: MetricsSources["mesh"];
}): MetricsSources {
  const { capture, driver, enrolment, store, readiness, sinks, mesh } = parts;
  return {
    *openFlows() {
      for (const flow of driver.openFlows()) yield { ...flow, context: { label: flow.judged, pod: flow.localPod } };
    },
    engineKind: parts.engineKind,
    engine: () => ({ ...driver.engineStats() }),
    driver: () => ({ ...driver.stats() }),
    log: () => ({
      agentDroppedTotal: sinks.agent.dropped,
      accessDroppedTotal: sinks.access.dropped,
    }),
    otlp: parts.otlp,
    capture: () => capture.stats(),
    certificates: () =>
      store.list().flatMap(({ identity, certificate }) => {
        return certificate === undefined ? [] : [{ identity, expiresAt: certificate.notAfter }];
      }),
    pods: () => {
      const count: Record<string, number> = { pending: 0, captured: 0, doubtful: 0, failed: 0, leaving: 0 };
      for (const { state } of enrolment.rows()) count[state] = (count[state] ?? 0) + 1;
      return count;
    },
    blockers: () => readiness.blockers(),
    mesh,
  };
}

export function adminSources(
  deps: {
    readonly config: NodeConfig;
    readonly version: string;
    readonly source: ReportingSource;
    readonly store: CertificateStore;
    readonly readiness: Readiness;
    readonly log: ScopedLog;
  },
  started: () => StartedParts,
): AdminSources {
  const { config, version, source, store, readiness, log } = deps;
  return {
    version,
    config,
    view: () => source.view,
    problems: () => source.problems(),
    pods: () => started().enrolment?.rows() ?? [],
    certificates: () => store.list(),
    flows: () => started().driver?.flows() ?? [],
    tunnels: () => started().driver?.tunnels() ?? [],
    stats: () => {
      const { capture, driver, limits } = started();
      return {
        engine: driver?.engineStats(),
        limits,
        pods: driver?.podShares().map(podShareJson),
        driver: driver?.stats(),
        certificates: store.stats(),
        capture: capture?.stats(),
        kernel: capture?.support,
        memory: process.memoryUsage(),
      };
    },
    blockers: () => readiness.blockers(),
    logLevel: {
      get: () => log.level,
      set: (level) => {
        const known = logLevels.find((name) => name === level);
        if (known !== undefined) log.level = known;
      },
      known: logLevels,
    },
  };
}

function podShareJson({ localPod, ...share }: PodShare): object {
  return { ...share, pod: localPod && `${localPod.namespace}/${localPod.name}` };
}

/** What was still open at the drain deadline, by name as far as that is readable. */
export function logDrain(log: Logger, { drained, cut }: DrainReport, tookMs: number): void {
  const took = formatDuration(tookMs);
  if (cut.length === 0) {
    log.info({ drained, took }, "all connections have ended");
    return;
  }
  for (const { flow, role, source, destination, bytesSent, bytesReceived } of cut.slice(0, cutNamed)) {
    const from = formatHostPort(source.address, source.port);
    const to = formatHostPort(destination.address, destination.port);
    log.warn({ flow, role, source: from, destination: to, bytesSent, bytesReceived }, "connection cut");
  }
  log.warn({ drained, cut: cut.length, took }, "the drain deadline passed before all connections ended");
}

/** Capture's own probes end as refused connections; nobody's traffic, so nobody's log line. */
function isSelfProbe({ reason, source, destination }: FlowClosed): boolean {
  return reason === "illegal-port" && (isSelfProbeAddress(source.address) || isSelfProbeAddress(destination.address));
}

function tunnelFields(info: TunnelInfo, pod: LocalPod | undefined): object {
  const { tunnel, direction, peer, peerAddress, tls, setupMs } = info;
  return {
    tunnel,
    direction,
    pod: pod && `${pod.namespace}/${pod.name}`,
    peer,
    address: formatHostPort(peerAddress.address, peerAddress.port),
    tls: `${tls.version} ${tls.group} ${tls.cipher}`,
    setupMs: Math.round(setupMs),
  };
}
