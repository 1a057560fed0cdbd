/** The way to the collector, which logs, metrics and traces share: where it is, how it is known, and who sends. */
import { readFile } from "node:fs/promises";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";
import { messageOf } from "../../lib/errors.ts";
import type { Logger } from "../log.ts";
import { parseHeaders } from "./headers-file.ts";

export interface CollectorOptions {
  /** The collector's base, to which OTLP/HTTP adds `v1/logs` and the like. */
  readonly endpoint: string;
  /** Read before each batch, because keys rotate. */
  readonly headersFile: string | undefined;
  /** Roots of an https collector; read for the first batch. */
  readonly caFile: string | undefined;
  /** One batch may take this long, the exporter's own retries included. */
  readonly timeoutMs: number;
  readonly node: string;
  readonly version: string;
}

export class Collector {
  readonly #log: Pick<Logger, "warn">;
  readonly #options: CollectorOptions;
  readonly resource: Resource;
  #headers: Record<string, string> = {};

  constructor(deps: { readonly log: Pick<Logger, "warn"> }, options: CollectorOptions) {
    this.#log = deps.log;
    this.#options = options;
    this.resource = resourceFromAttributes({
      "service.name": "warren-node",
      "service.version": options.version,
      // Agents are told apart by their nodes; scrapers take this for the instance.
      "service.instance.id": options.node,
      "k8s.node.name": options.node,
    });
  }

  scope(name: string): { readonly name: string; readonly version: string } {
    return { name, version: this.#options.version };
  }

  /** What an exporter of `@opentelemetry/exporter-*-otlp-proto` is made with. */
  exporterOptions(signal: "logs" | "metrics" | "traces") {
    const { endpoint, timeoutMs } = this.#options;
    return {
      url: `${endpoint.replace(/\/+$/, "")}/v1/${signal}`,
      timeoutMillis: timeoutMs,
      // One batch at a time is ours to see to; the exporter counts the last one a moment longer than it takes to answer.
      concurrencyLimit: 2,
      headers: async () => await this.#readHeaders(),
      httpAgentOptions: async (protocol: string) =>
        protocol === "https:"
          ? new HttpsAgent({ keepAlive: true, ...(await this.#readRoots()) })
          : new HttpAgent({ keepAlive: true }),
    };
  }

  /** Undefined leaves the roots of the runtime, by which a collector with others is not trusted. */
  async #readRoots(): Promise<{ ca?: string }> {
    const { caFile } = this.#options;
    if (caFile === undefined) return {};
    try {
      return { ca: await readFile(caFile, "utf8") };
    } catch (error) {
      this.#log.warn({ file: caFile, error: messageOf(error) }, "the collector's roots cannot be read");
      return {};
    }
  }

  /** The exporter's packages want no error from here: the last good headers are used, and the collector says what it thinks of them. */
  async #readHeaders(): Promise<Record<string, string>> {
    const { headersFile } = this.#options;
    if (headersFile === undefined) return {};
    try {
      this.#headers = parseHeaders(await readFile(headersFile, "utf8"));
    } catch (error) {
      this.#log.warn({ file: headersFile, error: messageOf(error) }, "the collector's headers cannot be read");
    }
    return this.#headers;
  }
}

/** Unix milliseconds as OpenTelemetry has times: seconds and nanoseconds, to the microsecond that a number of them can tell. */
export function hrTime(milliseconds: number): [seconds: number, nanoseconds: number] {
  const microseconds = Math.round(milliseconds * 1000);
  return [Math.floor(microseconds / 1e6), (microseconds % 1e6) * 1000];
}
