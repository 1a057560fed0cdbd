/**
 * What waits for slow readers, against the limits of a tunnel and of a pod: windows narrow before anything is cut, a pod at its limit costs
 * its own flows alone, a quiet neighbour is served all the while, and every byte that was counted is given back.
 */
import { type ClientHttp2Stream, constants } from "node:http2";
import type { Socket } from "node:net";
import { describe, expect, it, vi } from "vitest";
import type { EngineLimits } from "../../src/tunnel/engine.ts";
import { dialApp, echo, ping, startApp, watchErrors } from "./support/apps.ts";
import { type EngineKind, enginePairs, engines } from "./support/engines.ts";
import { dialTo } from "./support/flows.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { carryTo, deliverTo, type MeshUnderTest, startMesh } from "./support/mesh-under-test.ts";
import { NodeUnderTest, type PodUnderTest } from "./support/node-under-test.ts";
import { rawClient, rawConnect } from "./support/raw-peers.ts";
import { connections } from "./support/stalled-peers.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** More than all windows and buffers on its way, the kernel's included, so that whoever writes it is stuck and not done. */
const much = Buffer.alloc(32 * MiB);
/** A condition that holds only when hundreds of MiB have moved: much longer than half a minute where others have the processors. */
const patience = { timeout: 100_000 };
vi.setConfig({ testTimeout: 300_000 });
/** A window never gets narrower. */
const narrowest = 64 * KiB;

/** Reads nothing of what says `s`, is read nothing by what says `w`, and sends back the rest. */
function moody(socket: Socket): void {
  socket.once("data", (first: Buffer) => {
    const wish = String.fromCharCode(first[0] ?? 0);
    if (wish === "s") socket.pause();
    else if (wish === "w") socket.pause().write(much);
    else {
      socket.write(first);
      echo(socket);
    }
  });
}

/** Connections whose bytes nobody reads: up to the application, or back from it. */
async function stuck(to: PodUnderTest, count: number, way: "up" | "back"): Promise<Socket[]> {
  const sockets = await connections(to.outbound, count);
  for (const socket of sockets) {
    watchErrors(socket).pause();
    socket.write(way === "up" ? "s" : "w");
    if (way === "up") socket.write(much);
  }
  return sockets;
}

function held(node: NodeUnderTest, pod: PodUnderTest): number {
  const row = node.engine.podLoads().find((load) => load.pod === pod.handle);
  if (row === undefined) throw new Error("no such pod");
  return row.bufferedBytes;
}

async function givenBack(...nodes: NodeUnderTest[]): Promise<void> {
  const loads = () => nodes.flatMap((node) => node.engine.podLoads());
  await expect.poll(() => loads().every(({ flows, bufferedBytes }) => flows === 0 && bufferedBytes === 0)).toBe(true);
  await expect.poll(() => nodes.map((node) => node.engine.stats().bufferedBytes)).toEqual(nodes.map(() => 0));
}

function closeAll(...nodes: NodeUnderTest[]): void {
  for (const node of nodes) {
    node.engine.closeFlows(
      node.rows().map(({ flow }) => flow),
      "closed-by-operator",
    );
  }
}

/** Round trips on new connections, one after the other, while the noise goes on; none may fail. */
async function visit(quiet: PodUnderTest, times: number): Promise<void> {
  for (let i = 0; i < times; i += 1) {
    const socket = await dialApp(quiet.outbound);
    expect(await ping(socket)).toBe("ping");
    expect(await ping(socket, "again")).toBe("again");
    socket.destroy();
  }
}

/** A second pod at both ends: its flows go from `quiet` to `neighbour`, those of everybody else from `caller` to `callee`. */
async function withNeighbours(mesh: MeshUnderTest, app: { address: string; port: number }) {
  const { pki, client, server, caller, callee } = mesh;
  const who = identity("quiet");
  const quiet = await client.addPod(client.addCredential(await pki.credential(who)), who);
  const whom = identity("neighbour");
  const neighbour = await server.addPod(server.addCredential(await pki.credential(whom)), whom);
  client.decideFlow = ({ pod }) =>
    pod === quiet.handle ? carryTo(client, quiet, neighbour, app.port) : carryTo(client, caller, callee, app.port);
  server.decideConnect = (event) => deliverTo(event.pod === callee.handle ? callee : neighbour, app, event);
  return { quiet, neighbour };
}

function rowsOf(node: NodeUnderTest, pod: PodUnderTest): number {
  return node.rows().filter((row) => row.pod === pod.handle).length;
}

function reasons(node: NodeUnderTest, pod: PodUnderTest): string[] {
  return [...new Set(node.closed.filter((closed) => closed.pod === pod.handle).map(({ reason }) => reason))];
}

describe.each(engines)("the $name engine", (kind: EngineKind) => {
  async function twoPods(limits: Partial<EngineLimits>) {
    const app = await startApp(moody);
    const node = new NodeUnderTest(kind, { limits });
    const who = identity("caller");
    const credential = node.addCredential(await (await MeshPki.create()).credential(who));
    const noisy = await node.addPod(credential, who);
    const quiet = await node.addPod(credential, who);
    node.decideFlow = ({ pod }) => dialTo(pod, app);
    return { node, noisy, quiet };
  }

  it("cuts flows of the pod that is at its limit, and no others", async () => {
    const memoryPerPod = 384 * KiB;
    // A flow holds this, what was read beyond it and what came meanwhile: always less than what a pod that was cut may keep.
    const { node, noisy, quiet } = await twoPods({ memoryPerPod, bufferPerFlow: 128 * KiB });
    await stuck(quiet, 1, "up");
    await expect.poll(() => held(node, quiet)).toBeGreaterThan(0);
    await stuck(noisy, 20, "up");
    await stuck(noisy, 20, "back");
    await visit(quiet, 5);
    await expect.poll(() => reasons(node, noisy), patience).toEqual(["limit-memory"]);
    await expect.poll(() => held(node, noisy), patience).toBeLessThanOrEqual(memoryPerPod);
    expect(node.engine.stats().podBufferedBytesMax).toBeGreaterThan(0);
    // What fits stays.
    expect(rowsOf(node, noisy)).toBeGreaterThan(0);
    expect(reasons(node, quiet)).toEqual(["ok"]);
    await expect.poll(() => rowsOf(node, quiet)).toBe(1);
    expect(node.closed.find(({ reason }) => reason === "limit-memory")?.detail).toMatch(
      /^\d+ bytes waited for a slow reader; its pod is at its limit$/,
    );
    closeAll(node);
    await givenBack(node);
    await visit(noisy, 1);
  });

  it("narrows the windows of a pod that holds half of what it may, so that nothing need be cut, and widens them again", async () => {
    const app = await startApp(moody);
    const memoryPerPod = 16 * MiB;
    const limits = { streamWindow: MiB, bufferPerFlow: 64 * KiB, memoryPerPod, memoryPerTunnel: memoryPerPod };
    const node = new NodeUnderTest(kind, { limits });
    const pki = await MeshPki.create();
    const pod = await node.addPod(node.addCredential(await pki.credential(identity("server"))), identity("server"));
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const { session } = await rawClient(pod.hbone, await pki.issue(identity("caller")), {
      // In MB; what waits to be written counts.
      maxSessionMemory: 2_000,
    });
    const window = () => session.remoteSettings.initialWindowSize;
    expect(window()).toBe(MiB);
    const write = async () => {
      const { stream } = await rawConnect(session, `${pod.address}:80`);
      stream.write("s");
      stream.write(much);
      return stream;
    };
    // Whole windows, of which at least half waits, one after the other: until half of the limit is used up.
    const whole: ClientHttp2Stream[] = [];
    while (window() === MiB && whole.length < 20) {
      whole.push(await write());
      await expect.poll(() => window() !== MiB || held(node, pod) > 0.4 * MiB * whole.length, patience).toBe(true);
    }
    await expect.poll(window, patience).toBe(narrowest);
    // Whole windows that were opened before fill up first.
    let before = -1;
    const settled = () => {
      const last = before;
      before = held(node, pod);
      return before === last;
    };
    await expect.poll(settled, { interval: 200, ...patience }).toBe(true);
    const narrow = await Promise.all(Array.from({ length: 12 }, write));
    await expect.poll(() => node.rows().every(({ bytesSent }) => bytesSent > MiB), patience).toBe(true);
    expect(held(node, pod) - before).toBeLessThan(narrow.length * 4 * narrowest);
    expect(node.closed).toEqual([]);
    // Who reads gets everything all the same; when the others are gone, by a whole window again.
    await expect.poll(() => app.connections.length).toBe(whole.length + narrow.length);
    const reader = app.connections.at(-1) as Socket;
    reader.resume();
    await expect.poll(() => reader.bytesRead, patience).toBe(1 + much.length);
    for (const stream of [...whole, ...narrow]) stream.close(constants.NGHTTP2_CONNECT_ERROR);
    await expect.poll(() => held(node, pod), patience).toBe(0);
    const last = await write();
    await expect.poll(window, patience).toBe(MiB);
    last.close(constants.NGHTTP2_CONNECT_ERROR);
    expect(reasons(node, pod)).not.toContain("limit-memory");
    await givenBack(node);
  });
});

describe.each(enginePairs)("what waits on the way from $name", ({ client: near, server: far }) => {
  const kinds = { client: near, server: far };

  it.each(["up", "back"] as const)(
    "a pod at its limit of bytes that wait on the way %s starves nobody",
    async (way) => {
      const app = await startApp(moody);
      const memoryPerPod = 384 * KiB;
      // As narrow as windows ever get: nothing helps but to cut.
      const limits = { streamWindow: narrowest, bufferPerFlow: 64 * KiB, memoryPerPod, memoryPerTunnel: memoryPerPod };
      const mesh = await startMesh(kinds, { app, [way === "up" ? "server" : "client"]: { limits } });
      const { client, server, caller, callee } = mesh;
      const { quiet, neighbour } = await withNeighbours(mesh, app);
      await visit(quiet, 1);
      const [node, pod] = way === "up" ? [server, callee] : [client, caller];
      // Each holds at least half of its window.
      await stuck(caller, 20, way);
      await visit(quiet, 5);
      await expect.poll(() => reasons(node, pod), patience).toEqual(["limit-memory"]);
      await visit(quiet, 5);
      await expect.poll(() => held(node, pod), patience).toBeLessThanOrEqual(memoryPerPod);
      expect(held(node, pod)).toBeGreaterThan(0);
      expect(reasons(client, quiet)).toEqual(["ok"]);
      expect(reasons(server, neighbour)).toEqual(["ok"]);
      closeAll(client, server);
      await givenBack(client, server);
      await visit(quiet, 1);
    },
  );

  it("above the process's limit cuts flows of the pod that holds most, and none of its neighbour's", async () => {
    const app = await startApp(moody);
    const memory = 512 * KiB;
    const limits = { streamWindow: narrowest, bufferPerFlow: 64 * KiB, memory };
    const mesh = await startMesh(kinds, { app, server: { limits } });
    const { client, server, caller, callee } = mesh;
    const { quiet, neighbour } = await withNeighbours(mesh, app);
    // One flow, which may hold more than any of the others: still less than its pod's half of the limit.
    await stuck(quiet, 1, "up");
    await expect.poll(() => held(server, neighbour)).toBeGreaterThan(0);
    await stuck(caller, 20, "up");
    await expect.poll(() => reasons(server, callee), patience).toEqual(["limit-memory"]);
    await expect.poll(() => held(server, callee) + held(server, neighbour), patience).toBeLessThanOrEqual(memory);
    expect(reasons(server, neighbour)).toEqual([]);
    expect(rowsOf(server, neighbour)).toBe(1);
    closeAll(client, server);
    await givenBack(client, server);
  });

  it("ends flows of the tunnel that is at its limit, and none of another tunnel into the same pod", async () => {
    const app = await startApp(moody);
    const memoryPerTunnel = 384 * KiB;
    const mesh = await startMesh(kinds, {
      app,
      client: { limits: { tunnelsPerGroup: 1 } },
      server: { limits: { streamWindow: narrowest, bufferPerFlow: 64 * KiB, memoryPerTunnel } },
    });
    const { client, server, caller, callee, pki } = mesh;
    const who = identity("other");
    const other = await client.addPod(client.addCredential(await pki.credential(who)), who);
    client.decideFlow = ({ pod }) => carryTo(client, pod === other.handle ? other : caller, callee, app.port);
    await stuck(other, 1, "up");
    const quick = await dialApp(caller.outbound);
    await ping(quick);
    await stuck(caller, 24, "up");
    await expect.poll(() => server.closed.length, patience).toBeGreaterThan(0);
    expect(await ping(quick)).toBe("ping");
    await expect.poll(() => held(server, callee), patience).toBeLessThanOrEqual(MiB / 4 + memoryPerTunnel);
    expect(new Set(server.closed.map(({ peer, reason }) => `${peer} ${reason}`))).toEqual(
      new Set([`${caller.identity} limit-memory`]),
    );
    expect(server.closed[0]?.detail).toContain("its tunnel is at its limit");
    closeAll(client, server);
    await givenBack(client, server);
  });
});
