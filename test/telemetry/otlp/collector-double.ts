/** A collector of OpenTelemetry over HTTP that keeps what it is sent, read by the field numbers of opentelemetry-proto 1. */
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { double, fixed64, hex, type Message, messages, packed, readMessage, text, varint } from "./protobuf-reader.ts";

type Value = string | number | boolean;
export type Attributes = Readonly<Record<string, Value>>;

interface Told {
  readonly resource: Attributes;
  readonly scope: string;
}

export interface TakenLog extends Told {
  readonly time: bigint;
  readonly severity: number;
  readonly severityText: string;
  readonly body: Value;
  readonly attributes: Attributes;
}

export interface TakenSpan extends Told {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  /** 2 is SERVER, 3 is CLIENT. */
  readonly kind: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: Attributes;
  readonly events: readonly string[];
  /** 0 is unset, 2 is an error. */
  readonly status: { readonly code: number; readonly message: string };
}

export interface TakenPoint {
  readonly attributes: Attributes;
  readonly start: bigint;
  readonly time: bigint;
  readonly value: number;
  /** Of a histogram, whose `value` is its count. */
  readonly sum?: number;
  readonly buckets?: readonly number[];
  readonly bounds?: readonly number[];
}

export interface TakenMetric extends Told {
  readonly name: string;
  readonly description: string;
  readonly kind: "gauge" | "sum" | "histogram";
  /** 2 is cumulative. */
  readonly temporality: number;
  readonly monotonic: boolean;
  readonly points: readonly TakenPoint[];
}

export interface TakenRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

export class CollectorDouble {
  /** What it answers next; undefined for never. */
  status: number | undefined = 200;
  readonly requests: TakenRequest[] = [];
  readonly logs: TakenLog[] = [];
  readonly spans: TakenSpan[] = [];
  readonly metrics: TakenMetric[] = [];
  readonly #server: Server;

  constructor(tls?: { readonly key: string; readonly cert: string }) {
    this.#server = tls === undefined ? createServer() : createTlsServer(tls);
    this.#server.on("request", (request, response) => {
      void buffer(request).then((body) => {
        const path = request.url ?? "";
        if (this.status === 200) this.#take(path, readMessage(body));
        this.requests.push({ path, headers: request.headers });
        if (this.status === undefined) return;
        response.writeHead(this.status, { "content-type": "application/x-protobuf" }).end();
      });
    });
  }

  /** Resolves with the port. */
  async start(host = "127.0.0.1", port = 0): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(port, host, resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #take(path: string, body: Message): void {
    for (const all of messages(body, 1)) {
      const resource = attributesOf(messages(all, 1)[0] ?? new Map(), 1);
      for (const scoped of messages(all, 2)) {
        const [named] = messages(scoped, 1);
        const told = { resource, scope: named === undefined ? "" : text(named, 1) };
        if (path === "/v1/logs") this.logs.push(...messages(scoped, 2).map((one) => logOf(told, one)));
        if (path === "/v1/traces") this.spans.push(...messages(scoped, 2).map((one) => spanOf(told, one)));
        if (path === "/v1/metrics") this.metrics.push(...messages(scoped, 2).map((one) => metricOf(told, one)));
      }
    }
  }
}

function logOf(told: Told, one: Message): TakenLog {
  return {
    ...told,
    time: fixed64(one, 1),
    severity: varint(one, 2),
    severityText: text(one, 3),
    body: anyValue(messages(one, 5)[0] ?? new Map()),
    attributes: attributesOf(one, 6),
  };
}

function spanOf(told: Told, one: Message): TakenSpan {
  const status = messages(one, 15)[0] ?? (new Map() as Message);
  return {
    ...told,
    traceId: hex(one, 1),
    spanId: hex(one, 2),
    parentSpanId: hex(one, 4),
    name: text(one, 5),
    kind: varint(one, 6),
    start: fixed64(one, 7),
    end: fixed64(one, 8),
    attributes: attributesOf(one, 9),
    events: messages(one, 11).map((event) => text(event, 2)),
    status: { code: varint(status, 3), message: text(status, 2) },
  };
}

function metricOf(told: Told, one: Message): TakenMetric {
  const head = { ...told, name: text(one, 1), description: text(one, 2) };
  for (const [field, kind] of [
    [5, "gauge"],
    [7, "sum"],
    [9, "histogram"],
  ] as const) {
    const [data] = messages(one, field);
    if (data === undefined) continue;
    const read = kind === "histogram" ? histogramOf : numberOf;
    const points = messages(data, 1).map(read);
    return { ...head, kind, temporality: varint(data, 2), monotonic: varint(data, 3) === 1, points };
  }
  throw new Error(`${head.name} has no data`);
}

function numberOf(point: Message): TakenPoint {
  return {
    attributes: attributesOf(point, 7),
    start: fixed64(point, 2),
    time: fixed64(point, 3),
    value: double(point, 4),
  };
}

function histogramOf(point: Message): TakenPoint {
  return {
    attributes: attributesOf(point, 9),
    start: fixed64(point, 2),
    time: fixed64(point, 3),
    value: Number(fixed64(point, 4)),
    sum: double(point, 5),
    buckets: packed(point, 6, (bytes) => Number(bytes.readBigUInt64LE())),
    bounds: packed(point, 7, (bytes) => bytes.readDoubleLE()),
  };
}

function attributesOf(of: Message, field: number): Attributes {
  return Object.fromEntries(
    messages(of, field).map((one) => [text(one, 1), anyValue(messages(one, 2)[0] ?? new Map())]),
  );
}

function anyValue(any: Message): Value {
  if (any.has(1)) return text(any, 1);
  if (any.has(2)) return varint(any, 2) === 1;
  return any.has(3) ? varint(any, 3) : double(any, 4);
}
