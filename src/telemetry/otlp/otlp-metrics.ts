/** What scrapers read, sent to a collector: the SDK's periodic reader over a producer that reads the same page. */
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import {
  type CollectionResult,
  type MetricProducer,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
  type ResourceMetrics,
} from "@opentelemetry/sdk-metrics";
import { messageOf } from "../../lib/errors.ts";
import type { Logger } from "../log.ts";
import type { Collector } from "./collector.ts";
import { ExpositionPoints } from "./exposition-points.ts";
import { batchSize, lastWaitMs } from "./sending.ts";

export interface OtlpMetricsDeps {
  readonly collector: Collector;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  readonly log: Pick<Logger, "warn" | "info">;
  /** The page in the classic format, as a scraper gets it. */
  readonly page: () => AsyncIterable<string | Buffer>;
}

export interface OtlpMetricsOptions {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Unix time in milliseconds since when counters count. */
  readonly countingSince: number;
}

type ExportDone = Parameters<PushMetricExporter["export"]>[1];

export class OtlpMetrics implements MetricProducer {
  readonly #deps: OtlpMetricsDeps;
  readonly #points: ExpositionPoints;
  readonly #reader: PeriodicExportingMetricReader;
  #failing = false;
  #exported = 0;
  #dropped = 0;

  constructor(deps: OtlpMetricsDeps, { intervalMs, timeoutMs, countingSince }: OtlpMetricsOptions) {
    this.#deps = deps;
    this.#points = new ExpositionPoints(countingSince);
    const exporter = new OTLPMetricExporter(deps.collector.exporterOptions("metrics"));
    this.#reader = new PeriodicExportingMetricReader({
      exporter: {
        export: (metrics, done) => exporter.export(metrics, (result) => this.#count(metrics, result, done)),
        forceFlush: () => exporter.forceFlush(),
        shutdown: () => exporter.shutdown(),
      },
      exportIntervalMillis: intervalMs,
      exportTimeoutMillis: Math.min(intervalMs, timeoutMs),
      maxExportBatchSize: batchSize,
    });
    this.#reader.setMetricProducer(this);
  }

  async collect(): Promise<CollectionResult> {
    const { collector, now, page } = this.#deps;
    try {
      const metrics = await this.#points.read(page(), now());
      const scopeMetrics = [{ scope: collector.scope("warren.metrics"), metrics }];
      return { resourceMetrics: { resource: collector.resource, scopeMetrics }, errors: [] };
    } catch (error) {
      this.#tell(messageOf(error));
      return { resourceMetrics: { resource: collector.resource, scopeMetrics: [] }, errors: [error] };
    }
  }

  /** Data points. */
  stats(): { readonly exported: number; readonly dropped: number } {
    return { exported: this.#exported, dropped: this.#dropped };
  }

  /** Sends what the metrics are now, as far as the collector takes it at once. May be called twice. */
  async stop(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, lastWaitMs);
    await Promise.race([this.#reader.shutdown().catch(() => {}), late]);
    clearTimeout(timer);
  }

  #count(metrics: ResourceMetrics, result: Parameters<ExportDone>[0], done: ExportDone): void {
    const points = metrics.scopeMetrics.flatMap((scope) => scope.metrics.map(({ dataPoints }) => dataPoints.length));
    const total = points.reduce((sum, one) => sum + one, 0);
    if (result.error === undefined) this.#exported += total;
    else this.#dropped += total;
    this.#tell(result.error?.message);
    done(result);
  }

  /** Once when it begins and once when it is over. */
  #tell(error: string | undefined): void {
    if ((error !== undefined) === this.#failing) return;
    this.#failing = error !== undefined;
    if (error === undefined) this.#deps.log.info("the collector takes metrics again");
    else this.#deps.log.warn({ error }, "the collector takes no metrics; the next ones hold what these would have");
  }
}
