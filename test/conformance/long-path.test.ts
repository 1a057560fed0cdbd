/**
 * A path of 100 ms: tunnels must not be slower than the path. Both the tunnel and a plain connection go through the same forwarder in the same
 * run, in turn; only their ratio counts.
 */
import { once } from "node:events";
import type { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { describe, expect, it, onTestFinished } from "vitest";
import { loadConfig } from "../../src/lib/config.ts";
import type { SocketAddress } from "../../src/model/address.ts";
import { nodeConfigSchema } from "../../src/node/config.ts";
import type { EngineLimits } from "../../src/tunnel/engine.ts";
import { dialApp, echo, ping, startApp, watchErrors } from "./support/apps.ts";
import { enginePairs } from "./support/engines.ts";
import type { LongPathWork } from "./support/long-path-worker.ts";
import { freshAddress, ports } from "./support/loopback.ts";
import { carryTo, startMesh } from "./support/mesh-under-test.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const delayMs = 50;
/** 160 Mbit/s at 100 ms: the default stream window, refilled by halves, is enough for it. */
const credit = 2 * MiB;
const bytes = 12 * MiB;
const fewestRounds = 3;
/** A busy machine adds its own waits to rounds; a tunnel that is too slow in each of so many is slow itself. */
const mostRounds = 16;
const fewestTries = 5;
const mostTries = 30;

/** Windows and frames of an agent that nobody configured. */
async function defaultLimits(): Promise<Partial<EngineLimits>> {
  const required = ["--node=n", "--manifests=m", "--control-address=c:1", "--control-root-certificate=r"];
  const args = [...required, "--control-token-file=t"];
  const { value } = await loadConfig(nodeConfigSchema, { args, environment: {} });
  const { streamWindow, connectionWindow, frameSize, bufferPerFlow } = value.limits;
  return { streamWindow, connectionWindow, frameSize, bufferPerFlow };
}

async function longPath(listen: SocketAddress, target: SocketAddress): Promise<SocketAddress> {
  const work: LongPathWork = { listen, target: { address: target.address, port: target.port }, delayMs, credit };
  const worker = new Worker(new URL("support/long-path-worker.ts", import.meta.url), { workerData: work });
  onTestFinished(() => void worker.terminate());
  const [at] = (await once(worker, "message")) as [SocketAddress];
  return at;
}

/** Takes everything and says `.` at the end. */
function sink(socket: Socket): void {
  socket.resume();
  socket.on("end", () => socket.end("."));
}

/** Milliseconds until the other end has everything and has said so. */
async function send(to: SocketAddress): Promise<number> {
  const socket = watchErrors(await dialApp(to));
  const since = performance.now();
  const block = Buffer.alloc(256 * KiB);
  for (let sent = 0; sent < bytes; sent += block.length) {
    if (!socket.write(block)) await once(socket, "drain");
  }
  socket.end();
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toBe(".");
  socket.destroy();
  return performance.now() - since;
}

describe.each(enginePairs)("over a path of 100 ms, from $name,", (kinds) => {
  it("one connection gets what the path gives", { timeout: 300_000 }, async () => {
    const app = await startApp(sink);
    const { client, caller, callee } = await startMesh(kinds, { app, limits: await defaultLimits() });
    const path = await longPath({ address: freshAddress(), port: ports.hbone }, callee.hbone);
    const direct = await longPath({ address: freshAddress(), port: 0 }, app);
    client.decideFlow = () => carryTo(client, caller, { ...callee, hbone: path }, app.port);
    // The first connection makes the tunnel.
    await send(caller.outbound);
    const times: { tunnel: number[]; direct: number[] } = { tunnel: [], direct: [] };
    // The native engine's bar. The TypeScript engine has the same windows, but its work at both ends shares this test's one thread.
    const bar = [kinds.client, kinds.server].every(({ name }) => name === "native") ? 0.8 : 0.4;
    let ratio = 0;
    for (let round = 1; round <= fewestRounds || (ratio <= bar && round <= mostRounds); round += 1) {
      times.direct.push(await send(direct));
      times.tunnel.push(await send(caller.outbound));
      // The best of each: windows that are too small would be in every round, and so would a longer way in every direct one.
      ratio = Math.min(...times.direct) / Math.min(...times.tunnel);
    }
    expect(ratio, JSON.stringify(times)).toBeGreaterThan(bar);
    expect(client.tunnelsUp).toHaveLength(1);
  });

  it("small requests are answered in little more than a round trip, a new connection in two", async () => {
    const app = await startApp(echo);
    const { client, caller, callee } = await startMesh(kinds, { app });
    const path = await longPath({ address: freshAddress(), port: ports.hbone }, callee.hbone);
    client.decideFlow = () => carryTo(client, caller, { ...callee, hbone: path }, app.port);
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    const tries: number[] = [];
    const opened: number[] = [];
    const late = () => Math.min(...tries) >= 1.5 || Math.min(...opened) >= 2.6;
    while (tries.length < fewestTries || (late() && tries.length < mostTries)) {
      const since = performance.now();
      await ping(socket);
      tries.push((performance.now() - since) / (2 * delayMs));
      const before = performance.now();
      await ping(await dialApp(caller.outbound));
      opened.push((performance.now() - before) / (2 * delayMs));
    }
    // In round trips of the path, so that nothing waits for another one: no delayed acknowledgement, no Nagle, no window.
    // The best of a few: a busy machine adds its own waits, and a round trip too many would be in each of them.
    expect(Math.min(...tries)).toBeLessThan(1.5);
    expect(Math.min(...opened)).toBeLessThan(2.6);
  });
});
