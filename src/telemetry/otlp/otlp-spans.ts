/** Connections that have ended, as OTLP spans. */
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { FlowLabel } from "../../model/flow-label.ts";
import type { LocalPod } from "../../model/workload.ts";
import type { FlowRecord } from "../flow-record.ts";
import type { Collector } from "./collector.ts";
import { connectionSpan, spanPlace } from "./connection-span.ts";
import { ExportQueue, type ExportQueueDeps, type ExportQueueOptions, type ExportQueueStats } from "./export-queue.ts";

export interface OtlpSpansDeps extends Pick<ExportQueueDeps<ReadableSpan>, "clock" | "log"> {
  readonly collector: Collector;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export interface OtlpSpansOptions extends Omit<ExportQueueOptions, "what"> {
  /** Of the traces that begin here, 0 to 1. */
  readonly share: number;
}

export class OtlpSpans {
  readonly #exporter: OTLPTraceExporter;
  readonly #collector: Collector;
  readonly #queue: ExportQueue<ReadableSpan>;
  readonly #samplesRoot: () => boolean;

  constructor({ collector, clock, log, random }: OtlpSpansDeps, { share, ...options }: OtlpSpansOptions) {
    this.#collector = collector;
    this.#samplesRoot = () => random() < share;
    this.#exporter = new OTLPTraceExporter(collector.exporterOptions("traces"));
    this.#queue = new ExportQueue(
      { clock, log, send: (batch) => this.#send([...batch]) },
      { ...options, what: "spans" },
    );
  }

  /** The record is read here and not kept. */
  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void {
    const place = spanPlace(record, this.#samplesRoot);
    if (place === undefined) return;
    const { resource } = this.#collector;
    const instrumentationScope = this.#collector.scope("warren.connections");
    this.#queue.add(() => connectionSpan(place, { record, label, pod }, { resource, instrumentationScope }));
  }

  stats(): ExportQueueStats {
    return this.#queue.stats();
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
    // It waits for what is under way, which has had its time.
    this.#exporter.shutdown().catch(() => {});
  }

  #send(spans: ReadableSpan[]): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#exporter.export(spans, ({ error }) => resolve(error?.message));
    });
  }
}
