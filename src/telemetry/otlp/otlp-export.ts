/**
 * What an agent sends to a collector of OpenTelemetry: the access log, what scrapers read, and connections as spans. Whoever asks for it
 * loads this file, and with it the OpenTelemetry packages of the signals that are on; an agent without it has none of them in memory.
 */
import type { Clock } from "../../lib/clock.ts";
import type { FlowLabel } from "../../model/flow-label.ts";
import type { LocalPod } from "../../model/workload.ts";
import type { AccessEntry, AccessExport } from "../access-log.ts";
import type { FlowRecord } from "../flow-record.ts";
import type { Logger } from "../log.ts";
import { Collector, type CollectorOptions } from "./collector.ts";
import type { ExportQueueStats } from "./export-queue.ts";
import type { OtlpLogs } from "./otlp-logs.ts";
import type { OtlpMetrics } from "./otlp-metrics.ts";
import type { OtlpSpans } from "./otlp-spans.ts";

export interface OtlpExportDeps {
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn" | "info">;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** The page of metrics in the classic format. */
  readonly page: () => AsyncIterable<string | Buffer>;
}

export interface OtlpExportOptions extends CollectorOptions {
  readonly logs: boolean;
  readonly metrics: boolean;
  readonly traces: boolean;
  /** Of the traces that begin here, 0 to 1. */
  readonly traceSample: number;
  readonly intervalMs: number;
  readonly metricsIntervalMs: number;
  /** Records, and as many spans, that may wait. */
  readonly queue: number;
}

interface Signals {
  readonly logs: OtlpLogs | undefined;
  readonly metrics: OtlpMetrics | undefined;
  readonly spans: OtlpSpans | undefined;
}

export class OtlpExport implements AccessExport {
  readonly #signals: Signals;

  private constructor(signals: Signals) {
    this.#signals = signals;
  }

  static async start(deps: OtlpExportDeps, options: OtlpExportOptions): Promise<OtlpExport> {
    const { clock, log, random, page } = deps;
    const { intervalMs, metricsIntervalMs, queue, timeoutMs } = options;
    const collector = new Collector({ log }, options);
    const logs = options.logs ? await import("./otlp-logs.ts") : undefined;
    const spans = options.traces ? await import("./otlp-spans.ts") : undefined;
    const metrics = options.metrics ? await import("./otlp-metrics.ts") : undefined;
    const countingSince = performance.timeOrigin;
    const metricsTimes = { intervalMs: metricsIntervalMs, timeoutMs, countingSince };
    return new OtlpExport({
      logs: logs && new logs.OtlpLogs({ collector, clock, log }, { intervalMs, queue }),
      spans:
        spans &&
        new spans.OtlpSpans({ collector, clock, log, random }, { intervalMs, queue, share: options.traceSample }),
      metrics: metrics && new metrics.OtlpMetrics({ collector, now: () => clock.now(), log, page }, metricsTimes),
    });
  }

  accessEnded(entry: AccessEntry): void {
    this.#signals.logs?.accessEnded(entry);
  }

  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void {
    this.#signals.spans?.flowClosed(record, label, pod);
  }

  /** Names become `warren_otlp_*`. */
  stats(): Readonly<Record<string, number>> {
    const { logs, metrics, spans } = this.#signals;
    const points = metrics?.stats();
    return {
      ...queueStats("logs", logs?.stats()),
      ...queueStats("spans", spans?.stats()),
      ...(points === undefined ? {} : { pointsExportedTotal: points.exported, pointsDroppedTotal: points.dropped }),
    };
  }

  /** Sends the metrics once more, while there is still somebody who knows them. */
  async stopMetrics(): Promise<void> {
    await this.#signals.metrics?.stop();
  }

  /** Sends what waits, as far as the collector takes it at once. May be called twice. */
  async stop(): Promise<void> {
    const { logs, metrics, spans } = this.#signals;
    await Promise.all([metrics?.stop(), logs?.stop(), spans?.stop()]);
  }
}

function queueStats(name: string, stats: ExportQueueStats | undefined): Record<string, number> {
  if (stats === undefined) return {};
  const { waiting, exported, dropped } = stats;
  return { [`${name}Waiting`]: waiting, [`${name}ExportedTotal`]: exported, [`${name}DroppedTotal`]: dropped };
}
