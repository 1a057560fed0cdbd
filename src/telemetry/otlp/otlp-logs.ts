/**
 * Lines of the access log as OTLP log records over HTTP, for collectors of OpenTelemetry. Whoever asks for it loads this file, and with
 * it the OpenTelemetry packages; an agent without it has none of them in memory. What is told goes into a bounded queue, which a timer
 * empties in batches, one at a time: a collector that is slow or away costs records, which are counted, and never a connection.
 */
import { readFile } from "node:fs/promises";
import { type Attributes, type HrTime, SeverityNumber } from "@opentelemetry/api";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-proto";
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";
import type { ReadableLogRecord } from "@opentelemetry/sdk-logs";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { AccessEntry, AccessExport } from "../access-log.ts";
import type { Logger } from "../log.ts";
import { redact } from "../redact.ts";
import { parseHeaders } from "./headers-file.ts";

export interface OtlpLogsDeps {
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn" | "info">;
}

export interface OtlpLogsOptions {
  /** The collector's base, to which OTLP/HTTP adds `v1/logs`. */
  readonly endpoint: string;
  /** Read before each batch, because keys rotate. */
  readonly headersFile: string | undefined;
  readonly intervalMs: number;
  /** Records that may wait. */
  readonly queue: number;
  /** One batch may take this long, the exporter's own retries included. */
  readonly timeoutMs: number;
  readonly node: string;
  readonly version: string;
}

/** Records of one request: some 300 KiB. Making a batch costs a millisecond or two. */
const batchSize = 512;
/** A collector that is away must not hold up the end of the agent. */
const lastWaitMs = 2000;
const severities = { info: SeverityNumber.INFO, warn: SeverityNumber.WARN, error: SeverityNumber.ERROR };

export class OtlpLogs implements AccessExport {
  readonly #deps: OtlpLogsDeps;
  readonly #options: OtlpLogsOptions;
  readonly #exporter: OTLPLogExporter;
  readonly #resource: Resource;
  readonly #scope: ReadableLogRecord["instrumentationScope"];
  #waiting: AccessEntry[] = [];
  #headers: Record<string, string> = {};
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #failing = false;
  #exported = 0;
  #dropped = 0;

  constructor(deps: OtlpLogsDeps, options: OtlpLogsOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#exporter = new OTLPLogExporter({
      url: `${options.endpoint.replace(/\/+$/, "")}/v1/logs`,
      timeoutMillis: options.timeoutMs,
      // One batch at a time is ours to see to; the exporter counts the last one a moment longer than it takes to answer.
      concurrencyLimit: 2,
      headers: async () => await this.#readHeaders(),
    });
    this.#resource = resourceFromAttributes({
      "service.name": "warren-node",
      "service.version": options.version,
      "k8s.node.name": options.node,
    });
    this.#scope = { name: "warren.access", version: options.version };
    this.#schedule();
  }

  accessEnded(entry: AccessEntry): void {
    if (this.#stopped !== undefined || this.#waiting.length >= this.#options.queue) this.#dropped++;
    else this.#waiting.push(entry);
  }

  stats(): Readonly<Record<"otlpWaiting" | "otlpExportedTotal" | "otlpDroppedTotal", number>> {
    return { otlpWaiting: this.#waiting.length, otlpExportedTotal: this.#exported, otlpDroppedTotal: this.#dropped };
  }

  /** Sends what waits, as far as the collector takes it at once; a second call waits for the first. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#cancel();
    const late = Promise.withResolvers<void>();
    const cancel = this.#deps.clock.after(lastWaitMs, late.resolve);
    await Promise.race([Promise.resolve(this.#running).then(() => this.#flush()), late.promise]);
    cancel();
    this.#dropped += this.#waiting.splice(0).length;
    // It waits for what is under way, which has had its time.
    this.#exporter.shutdown().catch(() => {});
  }

  #schedule(): void {
    this.#cancel = this.#deps.clock.after(this.#options.intervalMs, () => {
      this.#running = this.#flush().finally(() => {
        if (this.#stopped === undefined) this.#schedule();
      });
    });
  }

  /** Until the queue is empty, or the collector does not take a batch: the rest then waits for the next turn. */
  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, batchSize);
      const error = await this.#send(batch.map((entry) => this.#record(entry)));
      if (error === undefined) this.#exported += batch.length;
      else this.#dropped += batch.length;
      this.#tell(error);
      if (error !== undefined) return;
    }
  }

  /** What went wrong, undefined for nothing. */
  #send(records: ReadableLogRecord[]): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.#exporter.export(records, ({ error }) => resolve(error?.message));
    });
  }

  /** Once when it begins and once when it is over: an access log that fails must not fill the agent's. */
  #tell(error: string | undefined): void {
    if ((error !== undefined) === this.#failing) return;
    this.#failing = error !== undefined;
    if (error === undefined) this.#deps.log.info("the collector takes access log records again");
    else this.#deps.log.warn({ error }, "the collector takes no access log records; they are dropped and counted");
  }

  /** The exporter's packages want no error from here: the last good headers are used, and the collector says what it thinks of them. */
  async #readHeaders(): Promise<Record<string, string>> {
    const { headersFile } = this.#options;
    if (headersFile === undefined) return {};
    try {
      this.#headers = parseHeaders(await readFile(headersFile, "utf8"));
    } catch (error) {
      this.#deps.log.warn({ file: headersFile, error: messageOf(error) }, "the collector's headers cannot be read");
    }
    return this.#headers;
  }

  #record({ time, level, message, fields }: AccessEntry): ReadableLogRecord {
    const at: HrTime = [Math.floor(time / 1000), Math.round((time % 1000) * 1e6)];
    const attributes: Attributes = {};
    for (const [name, value] of fields) {
      if (value !== undefined && value !== "") attributes[name] = typeof value === "string" ? redact(value) : value;
    }
    return {
      hrTime: at,
      hrTimeObserved: at,
      severityNumber: severities[level],
      severityText: level,
      body: message,
      resource: this.#resource,
      instrumentationScope: this.#scope,
      attributes,
      droppedAttributesCount: 0,
    };
  }
}
