import { describe, expect, it } from "vitest";
import { FlowMetrics } from "../../src/telemetry/flow-metrics.ts";
import { apiIdentity, label, localPod, record, webIdentity, workload } from "./fixtures.ts";

function textOf(metrics: FlowMetrics): string {
  return [...metrics.pieces()].join("");
}

/** A count to its end. */
function count(metrics: FlowMetrics, flows: Parameters<FlowMetrics["countOpen"]>[0]): void {
  for (const _ of metrics.countOpen(flows));
}

function setUp(series = 100, seriesIdleMs = 60_000) {
  const clock = { now: 1_700_000_000_000 };
  return { clock, metrics: new FlowMetrics({ now: () => clock.now }, { series, seriesIdleMs }) };
}

interface Labels {
  reporter?: string;
  source_workload?: string;
  response_flags?: string;
  connection_security_policy?: string;
}

/** Samples of a family: label text to value. */
function samples(text: string, family: string): { labels: Labels; value: number }[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${family}{`))
    .map((line) => {
      const [, body = "", value = ""] = /\{(.*)\} (\S+)$/.exec(line) ?? [];
      const labels = Object.fromEntries(Array.from(body.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g), (m) => [m[1], m[2]]));
      return { labels, value: Number(value) };
    });
}

const opened = "istio_tcp_connections_opened_total";
const closed = "istio_tcp_connections_closed_total";
const failed = "istio_tcp_connections_failed_total";
const sent = "istio_tcp_sent_bytes_total";
const received = "istio_tcp_received_bytes_total";

describe("the istio_tcp families", () => {
  it("carry all of Istio's labels at the source", () => {
    const { metrics } = setUp();
    metrics.flowClosed(record(), { label: label(), pod: localPod("web") });
    expect(samples(textOf(metrics), opened)).toEqual([
      {
        value: 1,
        labels: {
          reporter: "source",
          source_workload: "web",
          source_workload_namespace: "production",
          source_canonical_service: "web",
          source_canonical_revision: "latest",
          source_principal: webIdentity,
          source_app: "web",
          source_version: "latest",
          source_cluster: "Kubernetes",
          destination_service: "api.production.svc.cluster.local",
          destination_service_namespace: "production",
          destination_service_name: "api",
          destination_workload: "api",
          destination_workload_namespace: "production",
          destination_canonical_service: "api",
          destination_canonical_revision: "latest",
          destination_principal: apiIdentity,
          destination_app: "api",
          destination_version: "latest",
          destination_cluster: "Kubernetes",
          request_protocol: "tcp",
          response_flags: "-",
          connection_security_policy: "mutual_tls",
        },
      },
    ]);
  });

  it("count bytes in the client's direction at both reporters", () => {
    const { metrics } = setUp();
    metrics.flowClosed(record(), { label: label(), pod: localPod("web") });
    metrics.flowClosed(record({ role: "inbound-hbone", peer: webIdentity }), { label: label(), pod: localPod("api") });
    const text = textOf(metrics);
    for (const reporter of ["source", "destination"]) {
      expect(samples(text, received).find(({ labels }) => labels.reporter === reporter)?.value).toBe(120);
      expect(samples(text, sent).find(({ labels }) => labels.reporter === reporter)?.value).toBe(4500);
    }
    expect(samples(text, opened).find(({ labels }) => labels.reporter === "destination")?.labels).toMatchObject({
      source_principal: webIdentity,
      destination_principal: apiIdentity,
    });
  });

  it.each([
    ["a proven peer", record(), "mutual_tls"],
    ["plaintext that came in", record({ role: "inbound-plaintext", peer: "", tunnel: 0 }), "none"],
    [
      "plaintext that was refused",
      record({ role: "inbound-plaintext", peer: "", tunnel: 0, target: undefined }),
      "none",
    ],
    ["plaintext that went out", record({ peer: "", tunnel: 0, target: { address: "10.0.0.9", port: 8080 } }), "none"],
    [
      "a flow whose tunnel never came up",
      record({ peer: "", tunnel: 0, target: { address: "10.0.0.9", port: 15_008 } }),
      "unknown",
    ],
    ["a flow that went nowhere", record({ peer: "", tunnel: 0, target: undefined }), "unknown"],
  ] as const)("call %s %s", (_name, flow, policy) => {
    const { metrics } = setUp();
    metrics.flowClosed(flow, { label: label(), pod: localPod("web") });
    const [sample] = samples(textOf(metrics), opened);
    expect(sample?.labels.connection_security_policy).toBe(policy);
  });

  it("take principals from the handshake alone", () => {
    const { metrics } = setUp();
    const flow = record({ role: "inbound-plaintext", peer: "", tunnel: 0 });
    metrics.flowClosed(flow, { label: label(), pod: localPod("api") });
    expect(samples(textOf(metrics), opened)[0]?.labels).toMatchObject({
      source_workload: "web",
      source_principal: "unknown",
      destination_principal: "unknown",
    });
  });

  it("say unknown where nothing is known", () => {
    const { metrics } = setUp();
    const nobody = label({ source: undefined, destination: undefined, service: undefined });
    metrics.flowClosed(record({ peer: "", tunnel: 0 }), { label: nobody, pod: undefined });
    expect(samples(textOf(metrics), opened)[0]?.labels).toMatchObject({
      source_workload: "unknown",
      destination_service: "unknown",
      destination_app: "unknown",
    });
  });

  it("count a refusal under its flag, as closed and failed", () => {
    const { metrics } = setUp();
    metrics.flowClosed(record({ reason: "policy-denied", target: undefined }), { label: label(), pod: undefined });
    const text = textOf(metrics);
    expect(samples(text, opened).map(({ labels, value }) => [labels.response_flags, value])).toEqual([["-", 1]]);
    expect(samples(text, closed).map(({ labels, value }) => [labels.response_flags, value])).toEqual([["DENY", 1]]);
    expect(samples(text, failed).map(({ labels, value }) => [labels.response_flags, value])).toEqual([["DENY", 1]]);
  });

  it("count a long-lived flow while it lives, and every byte once", () => {
    const { metrics } = setUp();
    const context = { label: label(), pod: localPod("web") };
    count(metrics, [{ ...record({ bytesSent: 10, bytesReceived: 100 }), context }]);
    expect(samples(textOf(metrics), received)[0]?.value).toBe(10);
    count(metrics, [{ ...record({ bytesSent: 25, bytesReceived: 100 }), context }]);
    expect(samples(textOf(metrics), received)[0]?.value).toBe(25);
    expect(samples(textOf(metrics), closed)).toEqual([]);
    metrics.flowClosed(record({ bytesSent: 30, bytesReceived: 160 }), context);
    count(metrics, []);
    const text = textOf(metrics);
    expect(samples(text, opened)[0]?.value).toBe(1);
    expect(samples(text, closed)[0]?.value).toBe(1);
    expect(samples(text, received)[0]?.value).toBe(30);
    expect(samples(text, sent)[0]?.value).toBe(160);
  });

  it("count every flow and byte once when flows end, and others count, between the steps of a count", () => {
    const { metrics } = setUp(2000);
    const context = { label: label(), pod: localPod("web") };
    const many = 1000;
    const rows = (bytesSent: number) =>
      Array.from({ length: many }, (_, flow) => ({ ...record({ flow, bytesSent, bytesReceived: 0 }), context }));
    const slow = metrics.countOpen(rows(10));
    slow.next();
    // One that was counted already and one that was not, both in the list of the count that goes on.
    for (const flow of [0, many - 1]) metrics.flowClosed(record({ flow, bytesSent: 11, bytesReceived: 0 }), context);
    count(metrics, rows(20).slice(1, -1));
    for (const _ of slow);
    const total = (family: string) => samples(textOf(metrics), family).reduce((sum, { value }) => sum + value, 0);
    expect({ opened: total(opened), received: total(received) }).toEqual({
      opened: many,
      received: 2 * 11 + (many - 2) * 20,
    });
    for (let flow = 1; flow < many - 1; flow++) {
      metrics.flowClosed(record({ flow, bytesSent: 30, bytesReceived: 0 }), context);
    }
    expect({ opened: total(opened), closed: total(closed), received: total(received) }).toEqual({
      opened: many,
      closed: many,
      received: 2 * 11 + (many - 2) * 30,
    });
  });

  it("forget a flow that no count sees any more, and one whose reader went away stays", () => {
    const { clock, metrics } = setUp(100, 60_000);
    const context = { label: label(), pod: localPod("web") };
    const rows = Array.from({ length: 600 }, (_, flow) => ({ ...record({ flow }), context }));
    count(metrics, rows);
    metrics.countOpen([]).return();
    clock.now += 120_000;
    expect(samples(textOf(metrics), opened)).toHaveLength(1);
    count(metrics, []);
    expect(samples(textOf(metrics), opened)).toEqual([]);
  });

  it("leave a flow that has not gone anywhere for its end", () => {
    const { metrics } = setUp();
    count(metrics, [{ ...record({ target: undefined }), context: { label: label(), pod: undefined } }]);
    expect(samples(textOf(metrics), opened)).toEqual([]);
  });

  it("escape label values", () => {
    const { metrics } = setUp();
    const odd = label({ source: workload("web", { canonicalName: 'a"b\\c\nd' }) });
    metrics.flowClosed(record(), { label: odd, pod: undefined });
    expect(textOf(metrics)).toContain(String.raw`source_canonical_service="a\"b\\c\nd"`);
  });
});

describe("the bound on label sets", () => {
  const talk = (name: string) => ({ label: label({ source: workload(name) }), pod: undefined });

  it("drops a set that nothing was added to for the idle time, and starts it anew when it comes back", () => {
    const { clock, metrics } = setUp(100, 60_000);
    const context = talk("a");
    metrics.flowClosed(record(), context);
    metrics.flowClosed(record(), context);
    clock.now += 60_001;
    expect(samples(textOf(metrics), opened)).toEqual([]);
    expect(metrics.stats()).toMatchObject({ series: 0, evictedTotal: 1 });
    metrics.flowClosed(record(), context);
    expect(samples(textOf(metrics), opened)[0]?.value).toBe(1);
  });

  it("keeps the set of an open flow, however quiet", () => {
    const { clock, metrics } = setUp(100, 60_000);
    const context = talk("a");
    count(metrics, [{ ...record(), context }]);
    clock.now += 120_000;
    expect(samples(textOf(metrics), opened)).toHaveLength(1);
  });

  it("counts what is above the limit as other, without losing a connection", () => {
    const { metrics } = setUp(3);
    for (const name of ["a", "b", "c", "d", "e"]) metrics.flowClosed(record(), talk(name));
    const found = samples(textOf(metrics), opened);
    expect(found).toHaveLength(4);
    expect(found.reduce((sum, { value }) => sum + value, 0)).toBe(5);
    expect(found.at(-1)).toMatchObject({
      value: 2,
      labels: { reporter: "source", source_workload: "other", connection_security_policy: "mutual_tls" },
    });
    expect(Object.keys(found.at(-1)?.labels ?? {})).toEqual(Object.keys(found[0]?.labels ?? {}));
    expect(metrics.stats().overflowedTotal).toBe(2);
  });

  it("makes room for new sets by dropping idle ones", () => {
    const { clock, metrics } = setUp(2, 60_000);
    metrics.flowClosed(record(), talk("a"));
    metrics.flowClosed(record(), talk("b"));
    clock.now += 60_001;
    metrics.flowClosed(record(), talk("c"));
    expect(samples(textOf(metrics), opened).map(({ labels }) => labels.source_workload)).toEqual(["c"]);
  });

  it("keeps one set for a thousand label objects that mean the same", () => {
    const { metrics } = setUp(3);
    for (let count = 0; count < 1000; count++) metrics.flowClosed(record(), talk("a"));
    expect(samples(textOf(metrics), opened)).toMatchObject([{ value: 1000 }]);
  });
});
