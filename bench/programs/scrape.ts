/**
 * Whether scrapes of many series disturb traffic. A real engine carries connections of a pod to an application; its decisions, its closing
 * records and the answers to scrapes share one thread, as in an agent. Bytes of a connection that is open, and connections that are made
 * one after the other, are timed in turns: without scrapes, with one each second, and with scrapes back to back in the classic format and
 * in OpenMetrics. The application with the clients, and the scraper, are processes of their own, so that reading the answers delays no byte. Prints one JSON
 * document.
 *
 *   node bench/programs/scrape.ts [--engine native] [--series 10000] [--open 1000] [--rounds 6] [--messages 1000] [--connections 200]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { HttpServer } from "../../src/lib/http-server.ts";
import type { FlowLabel } from "../../src/model/flow-label.ts";
import type { Identity } from "../../src/model/identity.ts";
import { metricsAnswer } from "../../src/node/reporting.ts";
import type { FlowRecord } from "../../src/telemetry/flow-record.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import type { Engine } from "../../src/tunnel/engine.ts";
import { engines } from "../../test/conformance/support/engines.ts";
import { addon, freshAddress, listen, netns, ports } from "../../test/conformance/support/loopback.ts";
import { engineOptions } from "../../test/conformance/support/options.ts";
import type { ScrapeClients, ScrapeReport } from "./scrape-clients.ts";

const { values: options } = parseArgs({
  options: {
    engine: { type: "string", default: "native" },
    series: { type: "string", default: "10000" },
    open: { type: "string", default: "1000" },
    rounds: { type: "string", default: "6" },
    messages: { type: "string", default: "1000" },
    connections: { type: "string", default: "200" },
  },
});
const { series, open, rounds, messages, connections } = {
  series: Number(options.series),
  open: Number(options.open),
  rounds: Number(options.rounds),
  messages: Number(options.messages),
  connections: Number(options.connections),
};

const label: FlowLabel = { source: undefined, destination: undefined, service: undefined, policy: "", shadow: [] };
const context = { label, pod: undefined };
const nowhere = { address: "10.0.0.1", port: 80 };

/** Four samples of a label set have a value: connections opened and closed, bytes both ways. */
function fill(metrics: Metrics): void {
  for (let flow = 1; flow <= series / 4; flow++) {
    const ended: FlowRecord = {
      flow: -flow,
      role: "inbound-hbone",
      source: nowhere,
      destination: nowhere,
      target: nowhere,
      peer: `spiffe://cluster.local/ns/namespace-${flow % 20}/sa/account-${flow}` as Identity,
      tunnel: 1,
      bytesSent: 100 + flow,
      bytesReceived: 200 + flow,
      reason: "ok",
      detail: "",
      traceparent: "",
      arrivedAt: 0,
      connectedMs: 1,
      durationMs: 2,
    };
    metrics.flowClosed(ended, label, undefined);
  }
}

const kind = engines.find(({ name }) => name === options.engine);
if (kind === undefined)
  throw new Error(`--engine ${options.engine}: there are ${engines.map(({ name }) => name).join(", ")}`);
const metrics = new Metrics({ now: Date.now }, { version: "0", policies: 10, series, seriesIdleMs: 3_600_000 });
fill(metrics);

const clients = fork(new URL("scrape-clients.ts", import.meta.url));
const [{ application }] = (await once(clients, "message")) as [{ application: { address: string; port: number } }];
const address = freshAddress();
const engine: Engine = kind.create(
  {
    sockets: addon,
    events: {
      flowArrived: ({ flow, pod }) => {
        const targets = [{ destination: application, weight: 1 }];
        engine.decide(flow, { kind: "dial", label: 1, targets, from: pod, purpose: "leave", baggage: "" });
      },
      connectArrived: () => {},
      flowHandedOver: () => {},
      flowClosed: (record) => metrics.flowClosed(record, label, undefined),
      tunnelUp: () => {},
      tunnelDown: () => {},
      batchEnd: () => {},
    },
  },
  engineOptions(),
);
engine.addPod({
  uid: "scraped",
  netns,
  addresses: [address],
  listeners: [await listen(address, "outbound")],
  originalDestination: { kind: "fixed", destination: application },
  marks: { leave: 0, deliver: 0 },
  credential: engine.addCredential("spiffe://cluster.local/ns/bench/sa/scraped" as Identity),
});
metrics.start({
  engineKind: engine.kind,
  *openFlows() {
    for (const row of engine.flowRows({})) yield { ...row, context };
  },
  engine: () => ({ ...engine.stats() }),
  driver: () => ({}),
  log: () => ({}),
  otlp: () => undefined,
  capture: () => ({}),
  certificates: () => [],
  pods: () => ({ captured: 1 }),
  blockers: () => [],
  mesh: () => ({ epoch: 1, changedAt: Date.now() }),
});
const listenOn = { host: "127.0.0.1", port: 0 };
const http = new HttpServer(
  { "GET /metrics": metricsAnswer(metrics) },
  { name: "metrics", listen: listenOn, loopbackOnly: false },
);
const { host, port } = await http.start();
const asked: ScrapeClients = {
  pod: { address, port: ports.outbound },
  url: `http://${host}:${port}/metrics`,
  open,
  rounds,
  messages,
  connections,
};
clients.send(asked);
const [report] = (await once(clients, "message")) as [ScrapeReport];
clients.disconnect();
await engine.stop();
await http.stop();
metrics.stop();
process.stdout.write(`${JSON.stringify({ engine: options.engine, ...report }, undefined, 2)}\n`);
