/** What only an engine with several workers does: tunnels on each of them, flows that move to their tunnel's worker, commands that follow. */
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { SocketAddress } from "../../../src/model/address.ts";
import type { DialDecision } from "../../../src/tunnel/engine.ts";
import { createNativeEngine } from "../../../src/tunnel/native/engine.ts";
import { closeCode, dialApp, echo, ping, startApp } from "../../conformance/support/apps.ts";
import { identity, MeshPki } from "../../conformance/support/mesh-pki.ts";
import { startMesh } from "../../conformance/support/mesh-under-test.ts";
import { NodeUnderTest, type PodUnderTest } from "../../conformance/support/node-under-test.ts";

const kind = { name: "native", create: createNativeEngine };
const kinds = { client: kind, server: kind };
const workers = 4;

beforeEach(() => {
  vi.stubEnv("WARREN_TEST_WORKERS", String(workers));
  return () => vi.unstubAllEnvs();
});

async function start(flows: number, limits = {}) {
  const app = await startApp(echo);
  const mesh = await startMesh(kinds, { app, limits });
  const sockets = await Promise.all(Array.from({ length: flows }, () => dialApp(mesh.caller.outbound)));
  expect(await Promise.all(sockets.map((socket, i) => ping(socket, `flow ${i}`)))).toEqual(
    sockets.map((_, i) => `flow ${i}`),
  );
  return { ...mesh, app, sockets };
}

/** To the application, out of the pod and in the clear. */
function leave({ handle }: PodUnderTest, app: SocketAddress): DialDecision {
  return {
    kind: "dial",
    label: 1,
    targets: [{ destination: app, weight: 1 }],
    from: handle,
    purpose: "leave",
    baggage: "",
  };
}

describe("an engine with several workers", () => {
  it("keeps a few connections of a pod in one tunnel", async () => {
    const { client } = await start(3);
    expect(client.tunnels()).toHaveLength(1);
  });

  it("gives many connections to one peer a tunnel on every worker, evenly", async () => {
    const { client, server } = await start(40);
    for (const node of [client, server]) {
      const flows = node.tunnels().map((tunnel) => tunnel.flows);
      expect(flows).toHaveLength(workers);
      expect(Math.max(...flows)).toBeLessThanOrEqual(12);
      expect(flows.reduce((sum, count) => sum + count, 0)).toBe(40);
    }
  });

  it("counts what waits for a pod's slow readers over all workers, and gives it back to the byte", async () => {
    // What a connection says first is answered, nothing else is read.
    const app = await startApp((socket) =>
      socket.once("data", (first) => {
        socket.write(first);
        socket.pause();
      }),
    );
    const memoryPerPod = 1024 * 1024;
    const limits = { streamWindow: 64 * 1024, memoryPerPod, memoryPerTunnel: memoryPerPod };
    const { client, server, caller } = await startMesh(kinds, { app, server: { limits } });
    const sockets = await Promise.all(Array.from({ length: 48 }, () => dialApp(caller.outbound)));
    await Promise.all(sockets.map((socket) => ping(socket)));
    expect(server.tunnels()).toHaveLength(workers);
    // At least half of a window for each waits in the end: no worker's part alone is above the limit, all together are.
    for (const socket of sockets) socket.write(Buffer.alloc(24 * 1024 * 1024));
    await expect.poll(() => server.closed.map(({ reason }) => reason)).toContain("limit-memory");
    const waiting = () => server.engine.podLoads().map(({ bufferedBytes }) => bufferedBytes);
    await expect.poll(() => Math.max(...waiting())).toBeLessThanOrEqual(memoryPerPod);
    expect(server.engine.stats().podBufferedBytesMax).toBeGreaterThan(0);
    expect(server.rows().length).toBeGreaterThan(0);
    client.engine.closeFlows(
      client.rows().map(({ flow }) => flow),
      "closed-by-operator",
    );
    await expect.poll(() => server.engine.podLoads()).toMatchObject([{ flows: 0, bufferedBytes: 0 }]);
    await expect.poll(() => server.engine.stats()).toMatchObject({ bufferedBytes: 0, podBufferedBytesMax: 0 });
  });

  it("obeys the limit of tunnels however many workers there are", async () => {
    const { client } = await start(40, { tunnelsPerGroup: 1 });
    expect(client.tunnels()).toMatchObject([{ flows: 40 }]);
  });

  it("lists every flow once and closes each by its id, wherever it moved", async () => {
    const { client, sockets } = await start(40);
    const rows = client.rows();
    expect(new Set(rows.map(({ flow }) => flow)).size).toBe(40);
    const codes = Promise.all(sockets.map(closeCode));
    client.engine.closeFlows(
      rows.map(({ flow }) => flow),
      "closed-by-operator",
    );
    expect(new Set(await codes)).toEqual(new Set(["ECONNRESET"]));
    await client.closing(40);
    expect(new Set(client.closed.map(({ reason }) => reason))).toEqual(new Set(["closed-by-operator"]));
    expect(client.rows()).toEqual([]);
  });

  it("ends every flow of a pod that goes, also of those that are on their way to another worker", async () => {
    const app = await startApp(echo);
    const pki = await MeshPki.create();
    const node = new NodeUnderTest(kind);
    const who = identity("caller");
    const credential = node.addCredential(await pki.credential(who));
    const count = 60;
    for (let round = 1; round <= 15; round += 1) {
      const pod = await node.addPod(credential, who);
      const sockets = await Promise.all(Array.from({ length: count }, () => dialApp(pod.outbound)));
      await expect.poll(() => node.arrived.length, { interval: 5 }).toBe(round * count);
      // All decided at once, so that most are sent to a worker with less to do; and in the same breath the pod is to go.
      for (const { flow } of node.arrived.slice(-count)) node.engine.decide(flow, leave(pod, app));
      await node.engine.removePod(pod.handle, { graceMs: round % 3, reason: "pod-removed" });
      await Promise.all(sockets.map(closeCode));
    }
    await node.closing(15 * count);
    expect(node.rows()).toEqual([]);
    // Who was on its way is counted where it was to arrive when it does.
    await expect.poll(() => node.engine.stats().flowsOpen, { interval: 5 }).toBe(0);
    expect(new Set(node.closed.map(({ flow }) => flow)).size).toBe(15 * count);
  });

  it("loses no flow and tells of each once while tunnels are cut under it", async () => {
    const app = await startApp(echo);
    const { client, server, caller } = await startMesh(kinds, { app });
    let opened = 0;
    const callers = Array.from({ length: 8 }, async () => {
      for (let i = 0; i < 40; i += 1) {
        const socket = await dialApp(caller.outbound);
        opened += 1;
        const over = closeCode(socket);
        await Promise.race([ping(socket).catch(() => {}), over]);
        socket.destroy();
        await over;
      }
    });
    const state = { running: true };
    const done = Promise.all(callers).finally(() => {
      state.running = false;
    });
    for (let turn = 0; state.running; turn += 1) {
      const node = turn % 2 === 0 ? client : server;
      const [tunnel] = node.tunnels();
      if (tunnel !== undefined) node.engine.closeTunnels([tunnel.tunnel], "closed-by-operator");
      await new Promise((resolve) => setImmediate(resolve));
    }
    await done;
    await client.closing(opened);
    await expect
      .poll(() => [client, server].map(({ engine }) => engine.stats().flowsOpen), { interval: 5 })
      .toEqual([0, 0]);
    expect(client.closed).toHaveLength(320);
    expect(new Set(client.closed.map(({ flow }) => flow)).size).toBe(320);
    expect(new Set(server.closed.map(({ flow }) => flow)).size).toBe(server.closed.length);
  });
});
