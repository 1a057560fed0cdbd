import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/lib/clock.ts";
import { Metrics } from "../../../src/telemetry/metrics.ts";
import { OtlpExport, type OtlpExportOptions } from "../../../src/telemetry/otlp/otlp-export.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { apiIdentity, label, localPod, record, webIdentity } from "../fixtures.ts";
import { asPage, samplesOf } from "./as-page.ts";
import { CollectorDouble } from "./collector-double.ts";

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const tls = { version: "TLSv1.3", group: "X25519MLKEM768", cipher: "TLS_AES_256_GCM_SHA384" };

let double: CollectorDouble;
let metrics: Metrics;
let out: OtlpExport | undefined;
/** What exporters of this test said: one of an earlier test may still learn that its collector is gone. */
let told: string[];

function logTo(lines: string[]) {
  const tell = (...words: unknown[]) => void lines.push(JSON.stringify(words));
  return { info: tell, warn: tell } as never;
}

beforeEach(() => {
  told = [];
  double = new CollectorDouble();
  metrics = new Metrics(systemClock, { version: "1.2.3", policies: 10, series: 2000, seriesIdleMs: 1e9 });
});

afterEach(async () => {
  double.stop();
  await out?.stop();
  metrics.stop();
});

async function start(change: Partial<OtlpExportOptions> = {}, clock: Clock = systemClock): Promise<OtlpExport> {
  const all = { logs: true, metrics: true, traces: true, traceSample: 1, headersFile: undefined, caFile: undefined };
  const times = { intervalMs: 20, metricsIntervalMs: 20, timeoutMs: 100_000 };
  const endpoint = change.endpoint ?? `http://127.0.0.1:${await double.start()}`;
  const options = { ...all, ...times, queue: 1000, node: "n1", version: "1.2.3", ...change, endpoint };
  out = await OtlpExport.start(
    { clock, log: logTo(told), random: Math.random, page: () => metrics.pieces("classic") },
    options,
  );
  return out;
}

async function page(): Promise<string> {
  let text = "";
  for await (const piece of metrics.pieces("classic")) text += piece;
  return text;
}

describe("the export by OTLP", () => {
  it("sends what scrapers read, every family, label and bucket of it", async () => {
    metrics.flowClosed(record({ traceparent }), label(), localPod("web"));
    const denied = { role: "inbound-hbone", reason: "policy-denied", peer: webIdentity } as const;
    metrics.flowClosed(record(denied), label({ policy: 'production/a"b' }), localPod("api"));
    for (const [tunnel, setupMs] of [3, 30, 30_000].entries()) {
      metrics.tunnelUp({ tunnel, direction: "outbound", tls, setupMs });
    }
    metrics.enrolled("ebpf", 0.02);
    const sent = await start({ logs: false, traces: false, metricsIntervalMs: 3_600_000 });
    await sent.stopMetrics();
    const scraped = samplesOf(await page());
    await expect.poll(() => samplesOf(asPage(double.metrics))).toEqual(scraped);
    expect(new Set(double.requests.map(({ path }) => path))).toEqual(new Set(["/v1/metrics"]));
    for (const { name, kind, monotonic, temporality, points } of double.metrics) {
      if (kind !== "gauge") expect({ name, temporality }).toEqual({ name, temporality: 2 });
      if (kind === "sum") expect({ name, monotonic }).toEqual({ name, monotonic: true });
      for (const { start: since, time } of points) expect(since <= time && since > 0n).toBe(true);
    }
    expect(double.metrics[0]?.resource).toMatchObject({ "service.name": "warren-node", "k8s.node.name": "n1" });
  });

  it("sends thousands of series in batches", async () => {
    for (let flow = 0; flow < 800; flow++) {
      metrics.flowClosed(record({ flow, peer: `${apiIdentity}-${flow}` as never }), label(), localPod("web"));
    }
    const sent = await start({ logs: false, traces: false, metricsIntervalMs: 3_600_000 });
    await sent.stopMetrics();
    // Written, read back and taken apart in this one thread.
    await expect.poll(() => sent.stats()["pointsExportedTotal"], { timeout: 100_000 }).toBeGreaterThan(3200);
    const largest = Math.max(...double.metrics.map(({ points }) => points.length));
    expect(largest).toBeLessThanOrEqual(128);
    const opened = double.metrics.filter(({ name }) => name === "istio_tcp_connections_opened_total");
    expect(
      new Set(opened.flatMap(({ points }) => points.map(({ attributes }) => attributes["destination_principal"]))).size,
    ).toBe(800);
  });

  it("joins both ends of a connection to one trace, the destination under the source", async () => {
    const sent = await start({ metrics: false, logs: false });
    sent.flowClosed(record({ traceparent }), label(), localPod("web"));
    const inbound = { role: "inbound-hbone", peer: webIdentity, traceparent } as const;
    sent.flowClosed(record(inbound), label(), localPod("api"));
    sent.flowClosed(record({ traceparent: traceparent.replace(/01$/, "00") }), label(), localPod("web"));
    await expect.poll(() => double.spans).toHaveLength(2);
    const [source, destination] = double.spans;
    expect(source).toMatchObject({
      traceId: traceparent.slice(3, 35),
      spanId: traceparent.slice(36, 52),
      parentSpanId: "",
      kind: 3,
      scope: "warren.connections",
      start: 1_700_000_000_000_000_000n,
      end: 1_700_000_000_031_700_000n,
      events: ["connected"],
      status: { code: 0, message: "" },
      attributes: { "warren.reason": "ok", "network.transport": "tcp", "source.port": 38472 },
    });
    expect(destination).toMatchObject({ traceId: source?.traceId, parentSpanId: source?.spanId, kind: 2 });
    expect(destination?.spanId).not.toBe(source?.spanId);
    await expect
      .poll(() => sent.stats())
      .toMatchObject({ spansExportedTotal: 2, spansDroppedTotal: 0, spansWaiting: 0 });
  });

  it("begins no trace for the share that it leaves out, and drops and counts spans above the queue", async () => {
    const none = await start({ metrics: false, logs: false, traceSample: 0 });
    none.flowClosed(record(), label(), localPod("web"));
    none.flowClosed(record({ traceparent }), label(), localPod("web"));
    await expect.poll(() => none.stats()["spansExportedTotal"]).toBe(1);
    await none.stop();
    const few = await start({ metrics: false, logs: false, queue: 2, intervalMs: 1e6, endpoint: "http://127.0.0.1:1" });
    for (let count = 0; count < 5; count++) few.flowClosed(record(), label(), localPod("web"));
    expect(few.stats()).toEqual({ spansWaiting: 2, spansExportedTotal: 0, spansDroppedTotal: 3 });
  });

  it("sends nothing of a signal that is off", async () => {
    const sent = await start({ logs: false, metrics: false, traces: false });
    sent.accessEnded({ time: 1, level: "info", message: "connection complete", fields: [] });
    sent.flowClosed(record(), label(), localPod("web"));
    await sent.stop();
    expect({ stats: sent.stats(), requests: double.requests }).toEqual({ stats: {}, requests: [] });
  });

  it("sends the last metrics, spans and records when it stops", async () => {
    const hours = 3_600_000;
    // By a clock that stands still: a stop gives up what a machine that is late did not send in time.
    const sent = await start({ intervalMs: hours, metricsIntervalMs: hours }, new FakeClock());
    sent.accessEnded({ time: 1, level: "info", message: "connection complete", fields: [] });
    sent.flowClosed(record(), label(), localPod("web"));
    await sent.stopMetrics();
    await sent.stop();
    const paths = () => new Set(double.requests.map(({ path }) => path));
    await expect.poll(paths).toEqual(new Set(["/v1/logs", "/v1/metrics", "/v1/traces"]));
  });

  it("counts the points that a collector refuses, says so once, and says when it is over", async () => {
    double.status = 400;
    const sent = await start({ logs: false, traces: false });
    await expect.poll(() => sent.stats()["pointsDroppedTotal"]).toBeGreaterThan(200);
    double.status = 200;
    await expect.poll(() => sent.stats()["pointsExportedTotal"]).toBeGreaterThan(0);
    expect(told).toEqual([expect.stringContaining("takes no metrics"), expect.stringContaining("takes metrics again")]);
  });

  it("knows an https collector by the roots that it is given, and by no others", async () => {
    const folder = mkdtempSync(join(tmpdir(), "warren-otlp-tls-"));
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const subject = ["-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    spawnSync("openssl", ["req", "-x509", ...curve, ...subject, "-keyout", key, "-out", cert]);
    double = new CollectorDouble({ key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") });
    const endpoint = `https://127.0.0.1:${await double.start()}`;
    const stranger = await start({ endpoint, metrics: false, traces: false });
    stranger.accessEnded({ time: 1, level: "info", message: "connection complete", fields: [] });
    await expect.poll(() => stranger.stats()["logsDroppedTotal"]).toBe(1);
    await stranger.stop();
    const known = await start({ endpoint, caFile: cert, metrics: false, traces: false });
    known.accessEnded({ time: 1, level: "info", message: "connection complete", fields: [] });
    await expect.poll(() => double.logs).toHaveLength(1);
    rmSync(folder, { recursive: true });
  });
});
