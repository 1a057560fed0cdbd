/** warren_load against its own server on loopback: figures of the bench are only as good as these. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { percentile } from "../../bench/histogram.ts";
import { findLoadGenerator } from "../../bench/lab/program.ts";
import type { Histogram } from "../../bench/model.ts";

interface LoadLine {
  readonly [name: string]: number | Histogram | Record<string, number>;
}

const program = findLoadGenerator();
let server: ChildProcess;
let target: string;

beforeAll(async () => {
  const port = await freePort();
  target = `127.0.0.1:${port}`;
  server = spawn(program, ["serve", `--port=${port}`], { stdio: "inherit" });
  await vi.waitFor(async () => expect(await answers(port)).toBe(true), 30_000);
});

afterAll(async () => {
  const ended = once(server, "exit");
  server.kill();
  await ended;
});

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.unref();
    socket.once("connect", () => socket.destroy());
  });
}

async function load(command: string, options: Record<string, string | number>): Promise<LoadLine> {
  const { code, line } = await ended(command, options);
  expect(code).toBe(0);
  return line;
}

/** Whatever its exit code: 1 says that no connection was left at the end. */
function ended(command: string, options: Record<string, string | number>): Promise<{ code: unknown; line: LoadLine }> {
  const args = Object.entries({ target, ...options }).map(([name, value]) => `--${name}=${value}`);
  return new Promise((resolve) => {
    const running = execFile(program, [command, ...args], { timeout: 100_000 }, (error, stdout) =>
      resolve({ code: error?.code ?? 0, line: JSON.parse(stdout) as LoadLine }),
    );
    running.stdin?.end();
  });
}

test("a closed loop counts what was answered", async () => {
  const { requests, latency, errors } = await load("pingpong", { "warm-up": 0, seconds: 1, connections: 3 });
  expect(requests).toBeGreaterThan(0);
  expect((latency as Histogram).count).toBe(requests);
  expect(errors).toEqual({});
});

test("HTTP requests are asked one after the other and answered as such", async () => {
  const port = await freePort();
  const answering = spawn(program, ["serve", `--port=${port}`, "--http=1"], { stdio: "inherit" });
  try {
    await vi.waitFor(async () => expect(await answers(port)).toBe(true), 30_000);
    const response = await fetch(`http://127.0.0.1:${port}/orders/1`);
    expect([response.status, (await response.text()).length]).toEqual([200, 64]);
    const options = { target: `127.0.0.1:${port}`, "warm-up": 0, seconds: 1, connections: 3, http: 1 };
    const { requests, latency, errors } = await load("pingpong", options);
    expect(requests).toBeGreaterThan(0);
    expect((latency as Histogram).count).toBe(requests);
    expect(errors).toEqual({});
    // An echo is no answer: what answers otherwise than 200 is not counted.
    expect(await ended("pingpong", { ...options, target })).toMatchObject({
      code: 1,
      line: { requests: 0, errors: { EBADMSG: 3 } },
    });
  } finally {
    const gone = once(answering, "exit");
    answering.kill();
    await gone;
  }
});

test("an open loop sends what its schedule says", async () => {
  const { requests, sent, unanswered, latency } = await load("openloop", { "warm-up": 0, seconds: 0.5, rate: 1000 });
  expect(requests).toBe(500);
  expect(unanswered).toBe(0);
  expect((latency as Histogram).count).toBe(500);
  expect(sent).toBe(500);
});

test("new flows are connected, answered and closed", async () => {
  const { flows, connect: connected, latency } = await load("flows", { "warm-up": 0, seconds: 1, concurrency: 4 });
  expect(flows).toBeGreaterThan(0);
  expect((latency as Histogram).count).toBe(flows);
  expect((connected as Histogram).count).toBeGreaterThanOrEqual(Number(flows));
});

test("idle flows and sessions are all proven", async () => {
  expect(await load("idle", { flows: 200 })).toMatchObject({ open: 200, errors: {} });
  const netns = "/proc/self/ns/net,/proc/self/ns/net";
  const { port } = new URL(`tcp://${target}`);
  const sessions = await load("sessions", { targets: `${target},[::1]:${port}`, netns });
  expect(sessions).toMatchObject({ sessions: 4, errors: {} });
});

/** Answers everything at once, except that it stops for a while a tenth of a second after the first request: the schedule runs by then. */
function stallingServer(stallMs: number): Server {
  return createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () =>
      setTimeout(() => {
        socket.pause();
        setTimeout(() => socket.resume(), stallMs);
      }, 100),
    );
    socket.pipe(socket);
  });
}

test("a stall is charged to every request that was due meanwhile, not to the one that met it", async () => {
  const stalling = stallingServer(300).listen(0, "127.0.0.1");
  await once(stalling, "listening");
  const { port } = stalling.address() as AddressInfo;
  try {
    const options = { target: `127.0.0.1:${port}`, "warm-up": 0, seconds: 1, rate: 500, connections: 1 };
    const { requests, latency } = await load("openloop", options);
    expect(requests).toBe(500);
    // 300 of 1000 ms stood still: the request due in the middle of it waited for about half of that.
    expect(percentile(latency as Histogram, 0.84)).toBeGreaterThan(100e6);
    expect((latency as Histogram).max).toBeGreaterThan(250e6);
  } finally {
    stalling.close();
  }
});

test("requests that are never answered are counted with the time they waited", async () => {
  const silent = createServer((socket) => {
    socket.on("error", () => {});
    socket.resume();
  }).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  try {
    const options = { target: `127.0.0.1:${port}`, "warm-up": 0, seconds: 0.1, rate: 100 };
    const { requests, unanswered, latency } = await load("openloop", options);
    expect(requests).toBe(10);
    expect(unanswered).toBe(10);
    expect(percentile(latency as Histogram, 0.1)).toBeGreaterThan(1.9e9);
  } finally {
    silent.close();
  }
});

test("refused connections are errors by name, and nothing was measured", async () => {
  const port = await freePort();
  const { code, line } = await ended("flows", { target: `127.0.0.1:${port}`, "warm-up": 0, seconds: 0.1 });
  expect(code).toBe(1);
  const { errors, flows } = line;
  expect(flows).toBe(0);
  expect((errors as Record<string, number>)["ECONNREFUSED"]).toBeGreaterThan(0);
});
