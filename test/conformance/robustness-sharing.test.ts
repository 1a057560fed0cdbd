/**
 * What flows, tunnels and pods may take from one another: a bound on what each may hold, and turns for everybody while others are greedy.
 * Bounds are counts of bytes and round trips, not times: how much others may move while one small exchange is made.
 */
import type { Socket } from "node:net";
import { describe, expect, it, vi } from "vitest";
import { closeCode, connectionOf, dialApp, echo, ping, startApp, watchErrors } from "./support/apps.ts";
import { type EngineKind, enginePairs, engines } from "./support/engines.ts";
import { dialTo } from "./support/flows.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { carryTo, deliverTo, startMesh } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import { connections } from "./support/stalled-peers.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

// Thousands of flows and hundreds of MiB, on a machine whose processors others may have.
vi.setConfig({ testTimeout: 300_000 });

/** Writes as fast as it is taken. */
function writeForEver(socket: Socket): void {
  const block = Buffer.alloc(256 * KiB);
  const more = () => {
    // One block in a turn: in this process the writer must not starve everybody else itself. What the kernel takes at once brings no
    // `drain`.
    if (!socket.destroyed && socket.write(block)) setImmediate(more);
  };
  socket.on("drain", more);
  more();
}

/** An application that takes everything from whoever says `b`, and sends back what anybody else says. */
function mixed(socket: Socket): void {
  socket.once("data", (first: Buffer) => {
    if (first[0] === 0) socket.resume();
    else {
      socket.write(first);
      socket.pipe(socket);
    }
  });
}

/** Bytes that all flows of the node moved for applications so far, those still open included. */
function moved(node: NodeUnderTest): number {
  const { bytesSentTotal, bytesReceivedTotal } = node.engine.stats();
  return Math.max(
    bytesSentTotal + bytesReceivedTotal,
    node.rows().reduce((sum, { bytesSent, bytesReceived }) => sum + bytesSent + bytesReceived, 0),
  );
}

describe.each(engines)("the $name engine", (kind: EngineKind) => {
  it("holds no more for a flow whose reader is slow than the flow's limit", async () => {
    // Never read.
    const app = await startApp((socket) => void watchErrors(socket).pause());
    const bufferPerFlow = 128 * KiB;
    const node = new NodeUnderTest(kind, { limits: { bufferPerFlow } });
    const who = identity("caller");
    const pod = await node.addPod(node.addCredential(await (await MeshPki.create()).credential(who)), who);
    node.decideFlow = () => dialTo(pod.handle, app);
    const writers = await Promise.all(Array.from({ length: 4 }, () => dialApp(pod.outbound)));
    for (const writer of writers) writeForEver(writer);
    // They are stuck when nothing moves any longer.
    let last = -1;
    await expect
      .poll(
        () => {
          const now = moved(node);
          const same = now === last && now > 0 && writers.every((writer) => writer.writableLength > 0);
          last = now;
          return same;
        },
        { interval: 200, timeout: 100_000 },
      )
      .toBe(true);
    // What one read may bring beyond the limit is one buffer's worth.
    expect(node.engine.stats().bufferedBytes).toBeLessThanOrEqual(4 * (bufferPerFlow + 64 * KiB));
    expect(writers.every((writer) => writer.writableLength > 0)).toBe(true);
    // By the engine: Node does not see the reset of a socket that it has stopped reading.
    node.engine.closeFlows(
      node.rows().map(({ flow }) => flow),
      "closed-by-operator",
    );
    await expect.poll(() => node.engine.stats(), { interval: 5 }).toMatchObject({ bufferedBytes: 0, flowsOpen: 0 });
  });

  it("serves a quiet pod while a noisy one is at its limit of flows and keeps knocking", async () => {
    const app = await startApp(mixed);
    const node = new NodeUnderTest(kind, { limits: { flows: 1_000, flowsPerPod: 300 } });
    const who = identity("caller");
    const credential = node.addCredential(await (await MeshPki.create()).credential(who));
    const noisy = await node.addPod(credential, who);
    const quiet = await node.addPod(credential, who);
    node.decideFlow = ({ pod }) => dialTo(pod, app);
    const crowd = await connections(noisy.outbound, 500);
    await expect.poll(() => node.closed.length, { interval: 10, timeout: 100_000 }).toBe(200);
    for (const socket of crowd.slice(0, 4)) writeForEver(watchErrors(socket));
    expect(new Set(node.closed.map(({ pod, reason }) => `${pod} ${reason}`))).toEqual(
      new Set([`${noisy.handle} limit-flows`]),
    );
    for (let i = 0; i < 20; i += 1) {
      await connections(noisy.outbound, 5);
      const socket = await dialApp(quiet.outbound);
      expect(await ping(socket)).toBe("ping");
      expect(await ping(socket)).toBe("ping");
      socket.destroy();
    }
    expect(node.closed.filter(({ pod, reason }) => pod === quiet.handle && reason === "limit-flows")).toEqual([]);
  });
});

describe.each(enginePairs)("from $name", (kinds) => {
  const roundTrips = 40;

  /** Round trips on `socket` while others move bytes: how many bytes for each, in the median. */
  async function bytesPerRoundTrip(node: NodeUnderTest, socket: Socket): Promise<number> {
    const each: number[] = [];
    for (let i = 0; i < roundTrips; i += 1) {
      const before = moved(node);
      await ping(socket);
      each.push(moved(node) - before);
    }
    return each.sort((a, b) => a - b)[roundTrips / 2] as number;
  }

  /** Until all of them move bytes at once. */
  async function underWay(node: NodeUnderTest): Promise<void> {
    const from = moved(node);
    await expect.poll(() => moved(node) - from, { interval: 10, timeout: 100_000 }).toBeGreaterThan(8 * MiB);
  }

  it("small requests get their turn beside bulk flows on the same tunnel", async () => {
    const app = await startApp(mixed);
    const { client, caller } = await startMesh(kinds, { app, workers: 1 });
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    const bulk = await Promise.all(Array.from({ length: 4 }, () => dialApp(caller.outbound)));
    for (const each of bulk) writeForEver(each);
    await underWay(client);
    expect(client.tunnels()).toHaveLength(1);
    // Queued behind what the bulk flows may have in flight, it would wait for four windows of 4 MiB, and so would its answer.
    expect(await bytesPerRoundTrip(client, socket)).toBeLessThan(16 * MiB);
    expect(client.tunnels()).toHaveLength(1);
  });

  it("a pod of thousands of flows and greedy bulk does not starve another pod", async () => {
    const app = await startApp(mixed);
    const { pki, client, server, caller, callee } = await startMesh(kinds, {
      app,
      limits: { tunnelsPerGroup: 16, streamsPerInboundTunnel: 200 },
    });
    const quietWho = identity("quiet");
    const quiet = await client.addPod(client.addCredential(await pki.credential(quietWho)), quietWho);
    client.decideFlow = ({ pod }) => carryTo(client, pod === quiet.handle ? quiet : caller, callee, app.port);
    server.decideConnect = (event) => deliverTo(callee, app, event);
    const crowd = await connections(caller.outbound, 1_000);
    await expect.poll(() => app.connections.length, { interval: 10, timeout: 100_000 }).toBe(1_000);
    for (const each of crowd.slice(0, 4)) writeForEver(each);
    const socket = await dialApp(quiet.outbound);
    await ping(socket);
    await underWay(client);
    expect(await bytesPerRoundTrip(client, socket)).toBeLessThan(16 * MiB);
    // New connections of the quiet pod, too.
    for (let i = 0; i < 10; i += 1) expect(await ping(await dialApp(quiet.outbound))).toBe("ping");
    expect(client.closed).toEqual([]);
  });

  it("a reader that stands still holds up its own flow alone, and its memory is bounded", async () => {
    const app = await startApp((socket) => {
      // The first one is not read.
      if (app.connections.length === 1) socket.pause();
      else echo(socket);
    });
    const { client, server, caller } = await startMesh(kinds, { app, workers: 1 });
    const stuck = await dialApp(caller.outbound);
    await connectionOf(app);
    writeForEver(stuck);
    const other = await dialApp(caller.outbound);
    for (let i = 0; i < 50; i += 1) expect(await ping(other)).toBe("ping");
    expect(client.tunnels()).toHaveLength(1);
    // The stream's window is what the peer may have sent; the client's end holds its own buffers besides.
    const { streamWindow, bufferPerFlow } = server.options.limits;
    for (const node of [client, server]) {
      expect(node.engine.stats().bufferedBytes).toBeLessThanOrEqual(streamWindow + 2 * bufferPerFlow);
    }
    const code = closeCode(stuck);
    client.engine.closeFlows(
      client
        .rows()
        .filter(({ bytesSent }) => bytesSent > 1_000)
        .map(({ flow }) => flow),
      "closed-by-operator",
    );
    expect(await code).toBe("ECONNRESET");
    expect(await ping(other)).toBe("ping");
    await expect
      .poll(() => [client, server].map((node) => node.engine.stats().bufferedBytes), { interval: 10, timeout: 100_000 })
      .toEqual([0, 0]);
  });
});
