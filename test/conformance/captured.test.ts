/** Captured connections: how they are announced, passed on in the clear, refused, limited and timed out. */
import { openSync } from "node:fs";
import type { Socket } from "node:net";
import { beforeAll, describe, expect, it } from "vitest";
import { unlessStalled } from "../support/stalls.ts";
import { closeCode, dialApp, echo, ping, readAll, startApp } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { dialTo } from "./support/flows.ts";
import { freshAddress, listen, netns, ports } from "./support/loopback.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import type { OptionOverrides } from "./support/options.ts";

const web = identity("web");

let pki: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
});

describe.each(engines)("a connection captured for the $name engine", (kind: EngineKind) => {
  async function start(overrides: OptionOverrides = {}) {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind, overrides);
    const pod = await node.addPod(node.addCredential(await pki.credential(web)), web, { destination: app });
    node.decideFlow = () => dialTo(pod.handle, app);
    return { app, node, pod };
  }

  it.each(["outbound", "inbound"] as const)("on the %s listener is announced and dialled", async (listener) => {
    const { app, node, pod } = await start();
    const socket = await dialApp(pod[listener]);
    const port = socket.localPort;
    expect(await ping(socket)).toBe("ping");
    socket.end();
    expect(await closeCode(socket)).toBe("");
    const role = listener === "outbound" ? "outbound" : "inbound-plaintext";
    const known = {
      pod: pod.handle,
      role,
      source: { address: "127.0.0.1", port },
      destination: { address: app.address, port: app.port },
    };
    expect(node.arrived).toMatchObject([known]);
    expect(await node.closing()).toMatchObject({
      ...known,
      target: { address: app.address, port: app.port },
      peer: "",
      tunnel: 0,
      reason: "ok",
      bytesSent: 4,
      bytesReceived: 4,
    });
    expect(node.batches).toBeGreaterThan(0);
  });

  it("half-closes both ways without a tunnel, too", async () => {
    const app = await startApp(
      (socket) => void readAll(socket).then((question) => socket.end(`re: ${question.toString()}`)),
    );
    const { node, pod } = await start();
    node.decideFlow = () => dialTo(pod.handle, app);
    const socket = await dialApp(pod.outbound);
    socket.end("question");
    expect((await readAll(socket)).toString()).toBe("re: question");
    expect((await node.closing()).reason).toBe("ok");
  });

  it.each(["client", "server"] as const)("passes on a reset by the %s", async (side) => {
    const { app, node, pod } = await start();
    const socket = await dialApp(pod.outbound);
    await ping(socket);
    const other = app.connections[0] as Socket;
    const [from, to] = side === "client" ? [socket, other] : [other, socket];
    const code = closeCode(to);
    from.resetAndDestroy();
    expect(await code).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe(side === "client" ? "reset-by-source" : "reset-by-destination");
  });

  it("is reset when it is refused", async () => {
    const { app, node, pod } = await start();
    node.decideFlow = () => ({ kind: "refuse", label: 5, reason: "strict-plaintext" });
    expect(await closeCode(await dialApp(pod.inbound))).toBe("ECONNRESET");
    expect(await node.closing()).toMatchObject({ reason: "strict-plaintext", label: 5, connectedMs: -1 });
    expect(app.connections).toEqual([]);
  });

  it("is reset when its destination refuses", async () => {
    const { app, node, pod } = await start();
    app.server.close();
    expect(await closeCode(await dialApp(pod.outbound))).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe("connect-failed");
  });

  it("is reset when nobody decides", async () => {
    const { node, pod } = await start({ timeouts: { decision: 50 } });
    node.decideFlow = () => undefined;
    expect(await closeCode(await dialApp(pod.outbound))).toBe("ECONNRESET");
    expect(await node.closing()).toMatchObject({ reason: "internal", label: 0 });
  });

  it("may be decided later, and a decision that comes too late is ignored", async () => {
    const { app, node, pod } = await start();
    node.decideFlow = () => undefined;
    const socket = await dialApp(pod.outbound);
    await expect.poll(() => node.arrived.length, { interval: 5 }).toBe(1);
    const flow = node.arrived[0]?.flow ?? (0 as never);
    node.engine.decide(flow, dialTo(pod.handle, app));
    expect(await ping(socket)).toBe("ping");
    node.engine.decide(flow, { kind: "refuse", label: 1, reason: "policy-denied" });
    expect(await ping(socket)).toBe("ping");
    socket.end();
    await node.closing();
    node.engine.decide(flow, dialTo(pod.handle, app));
    await ping(
      await dialApp(pod.outbound).then((next) => {
        node.decideFlow = () => dialTo(pod.handle, app);
        const late = node.arrived[1]?.flow;
        if (late !== undefined) node.engine.decide(late, dialTo(pod.handle, app));
        return next;
      }),
    );
    expect(node.closed).toHaveLength(1);
  });

  it("is refused beyond the limit of flows, of the pod and of the process", async () => {
    const { app, node, pod } = await start({ limits: { flowsPerPod: 2, flows: 3 } });
    const other = await node.addPod(pod.credential, web, { destination: app });
    node.decideFlow = ({ pod }) => dialTo(pod, app);
    await ping(await dialApp(pod.outbound));
    await ping(await dialApp(pod.inbound));
    expect(await closeCode(await dialApp(pod.outbound))).toBe("ECONNRESET");
    await ping(await dialApp(other.outbound));
    expect(await closeCode(await dialApp(other.outbound))).toBe("ECONNRESET");
    await node.closing(2);
    expect(node.closed.map(({ pod, reason }) => [pod, reason])).toEqual([
      [pod.handle, "limit-flows"],
      [other.handle, "limit-flows"],
    ]);
    expect(node.engine.stats()).toMatchObject({ flowsOpen: 3, shedTotal: 2 });
  });

  it("is closed after the idle limit, and lives as long as bytes move", async () => {
    await unlessStalled(500, async () => {
      const { node, pod } = await start({ timeouts: { idle: 1_500 } });
      const [busy, idle] = [await dialApp(pod.outbound), await dialApp(pod.outbound)];
      await ping(busy);
      await ping(idle);
      const closed = closeCode(idle);
      while (!idle.closed) await ping(busy);
      expect(await closed).toBe("ECONNRESET");
      expect((await node.closing()).reason).toBe("idle-timeout");
      expect(await ping(busy)).toBe("ping");
    });
  });

  it("is closed when one side has ended and the other is silent for the half-closed limit", async () => {
    const app = await startApp((socket) => socket.resume());
    const { node, pod } = await start({ timeouts: { halfClosed: 100 } });
    node.decideFlow = () => dialTo(pod.handle, app);
    const open = await dialApp(pod.outbound);
    open.write("x");
    const half = await dialApp(pod.outbound);
    half.end();
    expect(await closeCode(half)).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe("half-closed-timeout");
    expect(node.closed).toHaveLength(1);
  });

  it("is cut when it holds more than the process may, and the others go on", async () => {
    let connections = 0;
    const app = await startApp((socket) => {
      connections += 1;
      // The second one is never read.
      if (connections === 1) echo(socket);
    });
    const { node, pod } = await start({ limits: { bufferPerFlow: 1_048_576, memory: 1 } });
    node.decideFlow = () => dialTo(pod.handle, app);
    const modest = await dialApp(pod.outbound);
    await ping(modest);
    const greedy = await dialApp(pod.outbound);
    const code = closeCode(greedy);
    const more = () => {
      while (!greedy.destroyed && greedy.write(Buffer.alloc(65_536)));
    };
    greedy.on("drain", more);
    more();
    expect(await code).toBe("ECONNRESET");
    expect(await node.closing()).toMatchObject({
      reason: "limit-memory",
      detail: expect.stringContaining("slow reader"),
    });
    expect(await ping(modest)).toBe("ping");
    expect(node.engine.stats().shedTotal).toBe(1);
  });

  it("without a known destination is reset and never dialled", async () => {
    const { app, node, pod } = await start();
    const address = freshAddress();
    // A connection that no redirection made has no SO_ORIGINAL_DST.
    node.engine.addPod({
      uid: "uid-lost",
      netns,
      addresses: [address],
      listeners: [await listen(address, "outbound")],
      originalDestination: { kind: "conntrack" },
      marks: { leave: 0, deliver: 0 },
      credential: pod.credential,
    });
    expect(await closeCode(await dialApp({ address, port: ports.outbound }))).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe("original-destination-lost");
    expect(node.arrived).toEqual([]);
    expect(app.connections).toEqual([]);
  });

  it("is accepted from a pod only if its netns and descriptors are what they should be", async () => {
    const { node, pod } = await start();
    const address = freshAddress();
    const listener = await listen(address, "outbound");
    const spec = {
      uid: "uid-bad",
      netns,
      addresses: [address],
      listeners: [listener],
      originalDestination: { kind: "conntrack" },
      marks: { leave: 0, deliver: 0 },
      credential: pod.credential,
    } as const;
    const file = openSync("/dev/null", "r");
    const broken = { role: "inbound", family: 4, fd: file } as const;
    expect(() => node.engine.addPod({ ...spec, listeners: [listener, broken] })).toThrow(/socket/);
    expect(() => node.engine.addPod({ ...spec, netns: 99_999 })).toThrow(/namespace/);
    expect(() => node.engine.addPod({ ...spec, credential: 999 as never })).toThrow(/handle/);
    // None of them closed the good listener.
    node.engine.addPod(spec);
    const socket = await dialApp({ address, port: ports.outbound });
    expect(await closeCode(socket)).toBe("ECONNRESET");
    expect(node.engine.stats().pods).toBe(2);
  });
});
