/**
 * What reading requests costs: the same connections through the TypeScript engine, once delivered as bytes and once handed over to the
 * HTTP enforcer with every request allowed. Application and load are processes of their own; rounds alternate between the two ways and
 * medians are compared. Prints one JSON document. `node bench/http-rules.ts [rounds]`; about four seconds per round.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { loadCaptureAddon } from "../src/capture/addon.ts";
import type { Decision, Engine, FlowArrived } from "../src/tunnel/engine.ts";
import { HttpEnforcer } from "../src/tunnel/http/http-enforcer.ts";
import { createTypeScriptEngine } from "../src/tunnel/typescript/engine.ts";
import { listen, netns } from "../test/conformance/support/loopback.ts";
import { identity } from "../test/conformance/support/mesh-pki.ts";
import { engineOptions } from "../test/conformance/support/options.ts";
import { connectTo, testOptions } from "../test/tunnel/http/support/gate.ts";
import { median } from "./statistics.ts";

const self = fileURLToPath(import.meta.url);
const podAddress = "127.99.1.1";
const connections = 16;
const smallMs = 1000;
const bulkBytes = 256 << 20;

const bodyBytes = 64;
const smallAnswer = `HTTP/1.1 200 OK\r\nContent-Length: ${bodyBytes}\r\n\r\n${"x".repeat(bodyBytes)}`;

/** Answers each request of its own making, without reading more of it than its end. */
async function application(): Promise<void> {
  const block = Buffer.alloc(1 << 20);
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      const text = chunk.toString("latin1");
      if (!text.startsWith("GET /bulk")) {
        socket.write(smallAnswer.repeat(text.split("\r\n\r\n").length - 1));
        return;
      }
      let left = bulkBytes;
      const push = () => {
        let more = true;
        while (left > 0 && more) {
          more = socket.write(block);
          left -= block.length;
        }
        if (left > 0) socket.once("drain", push);
      };
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bulkBytes}\r\n\r\n`);
      push();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.send?.(server.address());
}

/** One request after the other on each connection; returns how many were answered. */
async function smallLoad(port: number): Promise<number> {
  const request = "GET /orders/17 HTTP/1.1\r\nHost: api\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
  const end = performance.now() + smallMs;
  const counts = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect(port, podAddress).setNoDelay(true);
      await once(socket, "connect");
      let answered = 0;
      let tail = 0;
      socket.write(request);
      socket.on("data", (chunk) => {
        // The enforcer adds a field of its own, so the answer's end is found by its body.
        tail += chunk.toString("latin1").split("x").length - 1;
        if (tail < bodyBytes) return;
        tail = 0;
        answered += 1;
        if (performance.now() < end) socket.write(request);
        else socket.end();
      });
      await once(socket, "close");
      return answered;
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

/** One large answer; returns the milliseconds it took. */
async function bulkLoad(port: number): Promise<number> {
  const started = performance.now();
  const socket = connect(port, podAddress);
  let received = 0;
  socket.write("GET /bulk HTTP/1.1\r\nHost: api\r\n\r\n");
  socket.on("data", (chunk) => {
    received += chunk.length;
    if (received >= bulkBytes) socket.end();
  });
  await once(socket, "close");
  return performance.now() - started;
}

type Way = "passthrough" | "http";

/** An engine with one pod whose plaintext connections all go one way. */
async function start(way: Way, port: number): Promise<Engine> {
  const enforcer = new HttpEnforcer(
    {
      authorize: () => ({ outcome: "allow", reason: "ok", policy: "", rule: -1, shadow: [] }),
      dialUpstream: () => connectTo(port),
      requestEnded: () => {},
      internalError: (error) => {
        throw error;
      },
    },
    testOptions,
  );
  const arrivals = new Map<number, FlowArrived>();
  const decide = (event: FlowArrived): Decision =>
    way === "http"
      ? { kind: "hand-over", label: 1, baggage: "" }
      : {
          kind: "dial",
          label: 1,
          targets: [{ destination: { address: "127.0.0.1", port }, weight: 1 }],
          from: event.pod,
          purpose: "deliver",
          baggage: "",
        };
  const engine = createTypeScriptEngine(
    {
      sockets: loadCaptureAddon(),
      events: {
        flowArrived: (event) => {
          arrivals.set(event.flow, { ...event });
          engine.decide(event.flow, decide(event));
        },
        connectArrived: () => {},
        flowHandedOver: (flow, plaintext) => {
          const arrival = arrivals.get(flow);
          if (arrival !== undefined) enforcer.enforce({ ...arrival, peer: "" }, plaintext);
        },
        flowClosed: ({ flow }) => arrivals.delete(flow),
        tunnelUp: () => {},
        tunnelDown: () => {},
        batchEnd: () => {},
      },
    },
    engineOptions(),
  );
  engine.addPod({
    uid: way,
    netns,
    addresses: [podAddress],
    listeners: [await listen(podAddress, "inbound")],
    originalDestination: { kind: "fixed", destination: { address: podAddress, port } },
    marks: { leave: 0, deliver: 0 },
    credential: engine.addCredential(identity("bench")),
  });
  return engine;
}

interface Round {
  readonly requestsPerSecond: number;
  readonly cpuMicrosecondsPerRequest: number;
  readonly bulkMegabytesPerSecond: number;
}

async function round(way: Way, port: number): Promise<Round> {
  const engine = await start(way, port);
  const child = fork(self, ["load", "15006"]);
  const says = async (): Promise<number> => {
    const [value] = (await Promise.race([once(child, "message"), failed(child)])) as [number];
    return value;
  };
  const before = process.cpuUsage();
  const requests = await says();
  const { user, system } = process.cpuUsage(before);
  const bulkMs = await says();
  await engine.stop();
  return {
    requestsPerSecond: (requests / smallMs) * 1000,
    cpuMicrosecondsPerRequest: (user + system) / requests,
    bulkMegabytesPerSecond: bulkBytes / 2 ** 20 / (bulkMs / 1000),
  };
}

async function failed(child: ChildProcess): Promise<never> {
  const [code] = (await once(child, "exit")) as [number | null];
  throw new Error(`a process of the bench ended with ${code}`);
}

async function main(rounds: number): Promise<void> {
  const child = fork(self, ["application"]);
  const [{ port }] = (await Promise.race([once(child, "message"), failed(child)])) as [{ port: number }];
  const measured: Record<Way, Round[]> = { passthrough: [], http: [] };
  // The first of each is warm-up: both ways are compiled then.
  for (let index = 0; index <= rounds; index += 1) {
    for (const way of ["passthrough", "http"] as const) {
      const result = await round(way, port);
      if (index > 0) measured[way].push(result);
    }
  }
  child.kill();
  const medians = (way: Way): Round => {
    const of = (field: keyof Round): number =>
      Math.round(median(measured[way].map((result) => result[field])) ?? Number.NaN);
    return {
      requestsPerSecond: of("requestsPerSecond"),
      bulkMegabytesPerSecond: of("bulkMegabytesPerSecond"),
      cpuMicrosecondsPerRequest: of("cpuMicrosecondsPerRequest"),
    };
  };
  const [passthrough, http] = [medians("passthrough"), medians("http")];
  const ratio = (field: keyof Round): number => Number((http[field] / passthrough[field]).toFixed(2));
  const ratios = {
    requestsPerSecond: ratio("requestsPerSecond"),
    cpuPerRequest: ratio("cpuMicrosecondsPerRequest"),
    bulkMegabytesPerSecond: ratio("bulkMegabytesPerSecond"),
  };
  process.stdout.write(`${JSON.stringify({ rounds, connections, passthrough, http, ratios })}\n`);
}

const [role = "5", port = ""] = process.argv.slice(2);
// A child that outlives its parent would serve nobody.
process.once("disconnect", () => process.exit());
if (role === "application") await application();
else if (role === "load") {
  process.send?.(await smallLoad(Number(port)));
  process.send?.(await bulkLoad(Number(port)));
  process.disconnect();
} else await main(Number(role));
