/** Draining, removing pods and stopping: what ends when, and that nothing is left. */
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { constants } from "node:http2";
import { beforeAll, describe, expect, it } from "vitest";
import { closeCode, connectionOf, dialApp, echo, ping, startApp } from "./support/apps.ts";
import { type EngineKind, enginePairs, engines } from "./support/engines.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { carryTo, deliverTo, startMesh } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import { flag, frameType, RawFrames } from "./support/raw-frames.ts";
import { rawClient, rawConnect, rawTls } from "./support/raw-peers.ts";

const server = identity("server");

let pki: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
});

/** Descriptors of this process that are sockets or namespaces. */
function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

describe.each(engines)("the $name engine", (kind: EngineKind) => {
  async function start() {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind);
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const papers = await pki.issue(identity("client"));
    return { app, node, pod, papers };
  }

  it("drains: two GOAWAYs, no new connections, flows end in their own time", async () => {
    const { node, pod, papers } = await start();
    const frames = new RawFrames(await rawTls(pod.hbone, papers));
    frames.sendHeaders(1, [
      [":method", "CONNECT"],
      [":authority", `${pod.address}:80`],
    ]);
    await frames.first(frameType.headers, 1);
    const drained = node.engine.drain(60_000);
    await expect.poll(() => frames.of(frameType.goaway).length, { interval: 5 }).toBe(2);
    const [warning, real] = frames.of(frameType.goaway).map(({ payload }) => ({
      lastStream: payload.readUInt32BE(0),
      code: payload.readUInt32BE(4),
    }));
    // RFC 9113 §6.8.
    expect(warning).toEqual({ lastStream: 2 ** 31 - 1, code: constants.NGHTTP2_NO_ERROR });
    expect(real).toEqual({ lastStream: 1, code: constants.NGHTTP2_NO_ERROR });
    await expect.poll(async () => closeCode(await dialApp(pod.hbone)), { interval: 1 }).toBe("ECONNREFUSED");
    await expect.poll(async () => closeCode(await dialApp(pod.outbound)), { interval: 1 }).toBe("ECONNREFUSED");
    frames.send(frameType.data, 0, 1, Buffer.from("still here"));
    expect((await frames.first(frameType.data, 1)).payload.toString()).toBe("still here");
    frames.send(frameType.data, flag.endStream, 1);
    expect(await drained).toEqual({ drained: 1, cut: [] });
    expect((await node.closing()).reason).toBe("ok");
  });

  it("cuts what is still open when the drain's deadline passes, and says what it was", async () => {
    const { app, node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    await rawConnect(session, `${pod.address}:80`);
    const code = closeCode(await connectionOf(app));
    const report = await node.engine.drain(50);
    expect(report).toMatchObject({ drained: 0, cut: [{ pod: pod.handle, role: "inbound-hbone" }] });
    expect(await code).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe("agent-stopped");
  });

  it("serves a CONNECT that was on its way when the drain began", async () => {
    const { node, pod, papers } = await start();
    const frames = new RawFrames(await rawTls(pod.hbone, papers));
    const request = [
      [":method", "CONNECT"],
      [":authority", `${pod.address}:80`],
    ] as const;
    frames.sendHeaders(1, request);
    await frames.first(frameType.headers, 1);
    const drained = node.engine.drain(60_000);
    frames.sendHeaders(3, request);
    await frames.first(frameType.headers, 3);
    for (const stream of [1, 3]) frames.send(frameType.data, flag.endStream, stream);
    expect((await drained).drained).toBe(2);
    expect(node.closed.map(({ reason }) => reason)).toEqual(["ok", "ok"]);
  });

  it("removes a pod: listeners at once, flows after the grace, then every trace", async () => {
    const { app, node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    const one = await rawConnect(session, `${pod.address}:80`);
    const other = await rawConnect(session, `${pod.address}:80`);
    const removed = node.engine.removePod(pod.handle, { graceMs: 3_000, reason: "pod-removed" });
    // A worker closes its listeners in its next turn: a connection that was in their queue by then is reset, the ones after it refused.
    await expect.poll(async () => closeCode(await dialApp(pod.outbound)), { interval: 1 }).toBe("ECONNREFUSED");
    one.stream.end("last words");
    await once(one.stream, "data");
    const code = closeCode(await connectionOf(app, 1));
    await removed;
    expect(await code).toBe("ECONNRESET");
    await expect.poll(() => other.stream.closed, { interval: 5 }).toBe(true);
    const carried = node.closed.filter(({ role }) => role === "inbound-hbone");
    expect(carried.map(({ reason }) => reason)).toEqual(["ok", "pod-removed"]);
    expect(node.engine.stats()).toMatchObject({ pods: 0, flowsOpen: 0, tunnelsOpen: 0 });
    expect(() => node.engine.updatePod(pod.handle, {})).toThrow(
      expect.objectContaining({ code: "MESH_UNKNOWN_HANDLE" }),
    );
  });

  it("removes a pod abruptly without a grace", async () => {
    const { app, node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    await rawConnect(session, `${pod.address}:80`);
    const code = closeCode(await connectionOf(app));
    await node.engine.removePod(pod.handle, { graceMs: 0, reason: "pod-removed" });
    expect(await code).toBe("ECONNRESET");
    expect((await node.tunnelDown()).reason).toBe("pod-removed");
  });

  it("removes a pod once for all who ask, in the time of the most impatient", async () => {
    const { app, node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    await rawConnect(session, `${pod.address}:80`);
    const code = closeCode(await connectionOf(app));
    const patient = node.engine.removePod(pod.handle, { graceMs: 3_600_000, reason: "pod-removed" });
    const impatient = node.engine.removePod(pod.handle, { graceMs: 1, reason: "pod-removed" });
    await Promise.all([patient, impatient]);
    expect(await code).toBe("ECONNRESET");
    expect(node.closed.map(({ reason }) => reason)).toEqual(["pod-removed"]);
    await expect(node.engine.removePod(pod.handle, { graceMs: 0, reason: "pod-removed" })).rejects.toMatchObject({
      code: "MESH_UNKNOWN_HANDLE",
    });
  });

  it("stops twice, refuses work afterwards, and ends every flow with one record", async () => {
    const { node, pod, papers } = await start();
    const { session } = await rawClient(pod.hbone, papers);
    for (let i = 0; i < 5; i += 1) await rawConnect(session, `${pod.address}:80`);
    node.decideFlow = () => undefined;
    const waiting = await dialApp(pod.outbound);
    await expect.poll(() => node.arrived.length, { interval: 5 }).toBe(1);
    await Promise.all([node.engine.stop(), node.engine.stop()]);
    expect(await closeCode(waiting)).toBe("ECONNRESET");
    expect(node.closed.map(({ reason }) => reason)).toEqual(Array(6).fill("agent-stopped"));
    expect(new Set(node.closed.map(({ flow }) => flow)).size).toBe(6);
    expect(() => node.engine.addCredential(server)).toThrow(expect.objectContaining({ code: "MESH_ENGINE_STOPPED" }));
  });

  it("drops inbound connections beyond its limit of tunnels, half-made ones included", async () => {
    const node = new NodeUnderTest(kind, { limits: { inboundTunnelsPerPod: 2 } });
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    await rawClient(pod.hbone, await pki.issue(identity("client")));
    const silent = await dialApp(pod.hbone);
    expect(await closeCode(await dialApp(pod.hbone))).toBe("ECONNRESET");
    silent.destroy();
    await node.tunnelDown();
    await rawClient(pod.hbone, await pki.issue(identity("client")));
    await expect.poll(() => node.engine.stats(), { interval: 5 }).toMatchObject({ tunnelsOpen: 2, shedTotal: 1 });
  });
});

describe.each(enginePairs)("between $name", (kinds) => {
  it("no descriptor is left after flows of every kind and a stop", async () => {
    const app = await startApp(echo);
    // What addons open once for the process is no leak.
    const first = await startMesh(kinds, { app });
    await Promise.all([first.client.stop(), first.server.stop()]);
    const before = descriptors();
    const mesh = await startMesh(kinds, { app });
    const { client, server, caller, callee } = mesh;
    const open = [];
    for (let i = 0; i < 10; i += 1) {
      const socket = await dialApp(caller.outbound);
      await ping(socket);
      if (i % 2 === 0) open.push(socket);
      else socket.end();
    }
    client.decideFlow = () => ({ kind: "refuse", label: 0, reason: "no-endpoint" });
    await closeCode(await dialApp(caller.outbound));
    client.decideFlow = () => carryTo(client, caller, { ...callee, identity: caller.identity }, 1);
    await closeCode(await dialApp(caller.outbound));
    await Promise.all([client.stop(), server.stop()]);
    for (const socket of open) expect(await closeCode(socket)).toBe("ECONNRESET");
    for (const socket of app.connections) socket.destroy();
    await expect.poll(descriptors, { interval: 10 }).toBeLessThanOrEqual(before);
  });

  it("a drain of the server moves nobody's flow but makes room for another", async () => {
    const app = await startApp(echo);
    const { client, server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    const drained = server.engine.drain(60_000);
    await expect.poll(() => server.tunnels().length, { interval: 5 }).toBe(1);
    expect(await ping(socket, "during the drain")).toBe("during the drain");
    // The tunnel takes nothing new, and nobody listens for another one.
    expect(await closeCode(await dialApp(caller.outbound))).toBe("ECONNRESET");
    expect((await client.closing()).reason).toBe("connect-failed");
    socket.end();
    expect(await drained).toEqual({ drained: 1, cut: [] });
    expect((await client.tunnelDown(2)).reason).toBe("ok");
  });
});
