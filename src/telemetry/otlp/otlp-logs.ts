/** Lines of the access log as OTLP log records. */
import { type Attributes, SeverityNumber } from "@opentelemetry/api";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-proto";
import type { ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { AccessEntry, AccessExport } from "../access-log.ts";
import { redact } from "../redact.ts";
import { type Collector, hrTime } from "./collector.ts";
import { ExportQueue, type ExportQueueDeps, type ExportQueueOptions, type ExportQueueStats } from "./export-queue.ts";

export interface OtlpLogsDeps extends Pick<ExportQueueDeps<AccessEntry>, "clock" | "log"> {
  readonly collector: Collector;
}

const severities = { info: SeverityNumber.INFO, warn: SeverityNumber.WARN, error: SeverityNumber.ERROR };

export class OtlpLogs implements AccessExport {
  readonly #exporter: OTLPLogExporter;
  readonly #collector: Collector;
  readonly #queue: ExportQueue<AccessEntry>;

  constructor({ collector, clock, log }: OtlpLogsDeps, options: Omit<ExportQueueOptions, "what">) {
    this.#collector = collector;
    this.#exporter = new OTLPLogExporter(collector.exporterOptions("logs"));
    this.#queue = new ExportQueue(
      { clock, log, send: (batch) => this.#send(batch.map((entry) => this.#record(entry))) },
      { ...options, what: "access log records" },
    );
  }

  accessEnded(entry: AccessEntry): void {
    this.#queue.add(() => entry);
  }

  stats(): ExportQueueStats {
    return this.#queue.stats();
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
    // It waits for what is under way, which has had its time.
    this.#exporter.shutdown().catch(() => {});
  }

  #send(records: ReadableLogRecord[]): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#exporter.export(records, ({ error }) => resolve(error?.message));
    });
  }

  #record({ time, level, message, fields }: AccessEntry): ReadableLogRecord {
    const attributes: Attributes = {};
    for (const [name, value] of fields) {
      if (value !== undefined && value !== "") attributes[name] = typeof value === "string" ? redact(value) : value;
    }
    return {
      hrTime: hrTime(time),
      hrTimeObserved: hrTime(time),
      severityNumber: severities[level],
      severityText: level,
      body: message,
      resource: this.#collector.resource,
      instrumentationScope: this.#collector.scope("warren.access"),
      attributes,
      droppedAttributesCount: 0,
    };
  }
}
