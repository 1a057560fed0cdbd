/**
 * Throughput of the TypeScript engine against direct loopback TCP and against a bare node:http2 relay, in one run: both ends of a
 * tunnel in one child process, source and sink here. Rounds are interleaved, so that a noisy neighbour hits all alike; medians
 * and ratios go to standard output as JSON. `node bench/programs/bare-relay.ts [--seconds 1] [--rounds 5] [--flows 1,8]`
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { SocketAddress } from "../../src/model/address.ts";
import { identity, MeshPki } from "../../test/conformance/support/mesh-pki.ts";
import { startEngineRelay } from "../baseline/engine-relay.ts";
import { startBareRelay } from "../baseline/http2-relay.ts";

type Subject = "direct" | "bare" | "engine";
type Direction = "upload" | "download";

interface Round {
  readonly gbitPerSecond: number;
  /** Of the process that holds both tunnel ends; 0 for direct. */
  readonly cpuSecondsPerGB: number;
}

const chunk = Buffer.alloc(64 * 1024, 0x5a);

/** Child: starts a relay to the given application and says where to connect; answers `cpu` with its CPU time so far. */
async function runRelay(subject: Subject, port: number): Promise<void> {
  const app = { address: "127.0.0.1", port };
  const pki = await MeshPki.create();
  const entrance =
    subject === "bare"
      ? (await startBareRelay(await pki.issue(identity("bare")), app)).entrance
      : await startEngineRelay(pki, app, openSync("/proc/self/ns/net", "r"));
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpu: (user + system) / 1e6 });
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.({ entrance });
}

interface Relay {
  readonly entrance: SocketAddress;
  readonly child: ChildProcess | undefined;
}

async function startRelay(subject: Subject, app: SocketAddress): Promise<Relay> {
  if (subject === "direct") return { entrance: app, child: undefined };
  const child = fork(fileURLToPath(import.meta.url), ["--relay", subject, "--port", String(app.port)]);
  const [message] = (await once(child, "message")) as [{ entrance: SocketAddress }];
  return { entrance: message.entrance, child };
}

async function cpuOf({ child }: Relay): Promise<number> {
  if (child === undefined) return 0;
  child.send("cpu");
  const [message] = (await once(child, "message")) as [{ cpu: number }];
  return message.cpu;
}

/** The first byte of a connection says which side sends. */
async function startSink(): Promise<{ address: SocketAddress; received: () => number }> {
  let bytes = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    socket.once("data", (first: Buffer) => {
      bytes += first.length;
      if (first[0] === 1) pour(socket);
      else socket.on("data", (data: Buffer) => (bytes += data.length));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { address: { address: "127.0.0.1", port: (server.address() as AddressInfo).port }, received: () => bytes };
}

function pour(socket: Socket): void {
  const more = () => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on("drain", more);
  more();
}

async function round(
  relay: Relay,
  direction: Direction,
  flows: number,
  ms: number,
  sink: () => number,
): Promise<Round> {
  let downloaded = 0;
  const sockets: Socket[] = [];
  for (let i = 0; i < flows; i += 1) {
    const socket = connect({ host: relay.entrance.address, port: relay.entrance.port, noDelay: true });
    socket.on("error", () => {});
    await once(socket, "connect");
    sockets.push(socket);
    if (direction === "upload") {
      socket.write(Buffer.from([0]));
      pour(socket);
    } else {
      socket.on("data", (data: Buffer) => (downloaded += data.length));
      socket.write(Buffer.from([1]));
    }
  }
  const count = () => (direction === "upload" ? sink() : downloaded);
  // Slow start and the JIT are not what is measured.
  await elapse(ms / 4);
  const [bytesBefore, cpuBefore, before] = [count(), await cpuOf(relay), performance.now()];
  await elapse(ms);
  const [bytes, cpu, seconds] = [
    count() - bytesBefore,
    (await cpuOf(relay)) - cpuBefore,
    (performance.now() - before) / 1000,
  ];
  for (const socket of sockets) socket.resetAndDestroy();
  return { gbitPerSecond: (bytes * 8) / seconds / 1e9, cpuSecondsPerGB: cpu / (bytes / 1e9) };
}

function elapse(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

async function compare(seconds: number, rounds: number, flowCounts: readonly number[]): Promise<void> {
  const sink = await startSink();
  const subjects: readonly Subject[] = ["direct", "bare", "engine"];
  const relays = new Map<Subject, Relay>();
  for (const subject of subjects) relays.set(subject, await startRelay(subject, sink.address));
  const results: unknown[] = [];
  for (const direction of ["upload", "download"] as const) {
    for (const flows of flowCounts) {
      const measured = new Map<Subject, Round[]>(subjects.map((subject) => [subject, []]));
      for (let i = 0; i < rounds; i += 1) {
        for (const [subject, relay] of relays) {
          measured.get(subject)?.push(await round(relay, direction, flows, seconds * 1000, sink.received));
        }
      }
      const rate = (subject: Subject) => median((measured.get(subject) ?? []).map((one) => one.gbitPerSecond));
      const cpu = (subject: Subject) => median((measured.get(subject) ?? []).map((one) => one.cpuSecondsPerGB));
      results.push({
        direction,
        flows,
        gbitPerSecond: Object.fromEntries(subjects.map((subject) => [subject, rounded(rate(subject))])),
        cpuSecondsPerGB: { bare: rounded(cpu("bare")), engine: rounded(cpu("engine")) },
        engineToBare: rounded(rate("engine") / rate("bare")),
        engineToDirect: rounded(rate("engine") / rate("direct")),
      });
    }
  }
  for (const { child } of relays.values()) child?.disconnect();
  process.stdout.write(`${JSON.stringify({ node: process.version, seconds, rounds, results }, undefined, 2)}\n`);
  process.exit(0);
}

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "1" },
    rounds: { type: "string", default: "5" },
    flows: { type: "string", default: "1,8" },
    relay: { type: "string" },
    port: { type: "string", default: "0" },
  },
});
if (values.relay === undefined) {
  await compare(Number(values.seconds), Number(values.rounds), values.flows.split(",").map(Number));
} else {
  await runRelay(values.relay as Subject, Number(values.port));
}
