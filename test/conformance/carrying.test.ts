/** Flows through two engines: bytes, ends, resets, back pressure, and what the closing records say. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { closeCode, connectionOf, dialApp, echo, hashAll, ping, readAll, startApp } from "./support/apps.ts";
import { enginePairs } from "./support/engines.ts";
import { freshAddress } from "./support/loopback.ts";
import { carryTo, deliverTo, startMesh } from "./support/mesh-under-test.ts";

const MiB = 2 ** 20;

describe.each(enginePairs)("a flow carried from $name", (kinds) => {
  it("reaches the application over mutual TLS 1.3 and comes back", async () => {
    const app = await startApp(echo);
    const { client, server, caller, callee } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    const port = socket.localPort;
    expect(await ping(socket, "hello")).toBe("hello");
    socket.end();
    await closeCode(socket);
    expect(await client.closing()).toMatchObject({
      pod: caller.handle,
      role: "outbound",
      source: { address: "127.0.0.1", port },
      destination: { address: callee.address, port: app.port },
      target: callee.hbone,
      peer: callee.identity,
      tunnel: client.tunnelsUp[0]?.tunnel,
      label: 7,
      reason: "ok",
      detail: "",
      bytesSent: 5,
      bytesReceived: 5,
    });
    expect(await server.closing()).toMatchObject({
      pod: callee.handle,
      role: "inbound-hbone",
      destination: { address: callee.address, port: app.port },
      target: { address: app.address, port: app.port },
      peer: caller.identity,
      tunnel: server.tunnelsUp[0]?.tunnel,
      label: 8,
      reason: "ok",
      bytesSent: 5,
      bytesReceived: 5,
    });
    for (const [node, direction] of [
      [client, "outbound"],
      [server, "inbound"],
    ] as const) {
      const [record] = node.closed;
      expect(record?.connectedMs).toBeGreaterThan(0);
      expect(record?.durationMs).toBeGreaterThanOrEqual(record?.connectedMs ?? 0);
      expect(Math.abs(Date.now() - (record?.arrivedAt ?? 0))).toBeLessThan(60_000);
      expect(node.tunnelsUp).toMatchObject([
        { direction, tls: { version: "TLSv1.3", group: "X25519MLKEM768", cipher: "TLS_AES_256_GCM_SHA384" } },
      ]);
    }
  });

  it.each([
    ["X25519", "x25519"],
    ["P-256", "secp256r1"],
  ])("agrees on %s when that is all it may use", async (groups, name) => {
    const app = await startApp(echo);
    const { client, server, caller } = await startMesh(kinds, { app, client: { tls: { groups } } });
    await ping(await dialApp(caller.outbound));
    expect(client.tunnelsUp[0]?.tls.group).toBe(name);
    expect(server.tunnelsUp[0]?.tls.group).toBe(name);
  });

  it("tells the other side who asked, for what, and under which trace", async () => {
    const app = await startApp(echo);
    const { client, server, caller, callee } = await startMesh(kinds, { app });
    const carry = client.decideFlow;
    client.decideFlow = (event) => {
      const decision = carry(event);
      return decision?.kind === "carry" ? { ...decision, forwardedHost: "web.test.svc.cluster.local" } : decision;
    };
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    expect(server.connects).toMatchObject([
      {
        peer: caller.identity,
        authority: `${callee.address}:${app.port}`,
        baggage: "k8s.namespace.name=test",
        forwarded: `for="127.0.0.1:${socket.localPort}";host=web.test.svc.cluster.local`,
        traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/),
      },
    ]);
  });

  it.each([
    { share: 1, flags: "01" },
    { share: 0, flags: "00" },
  ])(
    "tells the trace of a connection at both ends where traces are carried, $flags at a share of $share",
    async ({ share, flags }) => {
      const app = await startApp(echo);
      const traced = { traces: { carried: true, share } };
      const { client, server, caller } = await startMesh(kinds, { app, client: traced, server: traced });
      const socket = await dialApp(caller.outbound);
      await ping(socket);
      socket.end();
      const { traceparent } = await client.closing();
      expect(traceparent).toMatch(new RegExp(`^00-[0-9a-f]{32}-[0-9a-f]{16}-${flags}$`));
      expect(server.connects).toMatchObject([{ traceparent }]);
      expect((await server.closing()).traceparent).toBe(traceparent);
    },
  );

  it("keeps a connection's trace when another target is tried", async () => {
    const app = await startApp(echo);
    const traced = { traces: { carried: true, share: 1 } };
    const { client, server, caller, callee } = await startMesh(kinds, { app, client: traced, server: traced });
    const carry = client.decideFlow;
    client.decideFlow = (event) => {
      const decision = carry(event);
      return decision?.kind === "carry"
        ? { ...decision, targets: [...decision.targets, ...decision.targets] }
        : decision;
    };
    server.decideConnect = (event) =>
      server.connects.length === 1
        ? { kind: "refuse", label: 1, reason: "connect-failed" }
        : deliverTo(callee, app, event);
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    socket.end();
    const { traceparent } = await client.closing();
    expect(traceparent).toMatch(/-01$/);
    expect(server.connects).toMatchObject([{ traceparent }, { traceparent }]);
    await server.closing(2);
    expect(server.closed.map((record) => record.traceparent)).toEqual([traceparent, traceparent]);
  });

  it("tells no trace where none are carried", async () => {
    const app = await startApp(echo);
    const { client, server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    socket.end();
    expect(await client.closing()).toMatchObject({ reason: "ok", traceparent: "" });
    expect(await server.closing()).toMatchObject({ reason: "ok", traceparent: "" });
  });

  it("shows the application the address that it was told to keep", async () => {
    const app = await startApp(echo);
    const { server, caller, callee } = await startMesh(kinds, { app });
    const kept = freshAddress();
    server.decideConnect = (event) => ({ ...deliverTo(callee, app, event), sourceAddress: kept });
    await ping(await dialApp(caller.outbound));
    expect(app.connections[0]?.remoteAddress).toBe(kept);
  });

  it("delivers from the netns's own address when the source is the destination itself", async () => {
    const app = await startApp(echo);
    const { server, caller, callee } = await startMesh(kinds, { app });
    server.decideConnect = (event) => ({ ...deliverTo(callee, app, event), sourceAddress: app.address });
    expect(await ping(await dialApp(caller.outbound))).toBe("ping");
  });

  it("goes on in one direction after the client has ended", async () => {
    const answer = randomBytes(3 * MiB);
    const app = await startApp((socket) => {
      void readAll(socket).then((question) => {
        expect(question.toString()).toBe("question");
        socket.end(answer);
      });
    });
    const { client, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    socket.end("question");
    expect((await readAll(socket)).equals(answer)).toBe(true);
    expect(await client.closing()).toMatchObject({ reason: "ok", bytesSent: 8, bytesReceived: answer.length });
  });

  it("goes on in one direction after the server has ended", async () => {
    const upload = randomBytes(3 * MiB);
    let received: Promise<Buffer> | undefined;
    const app = await startApp((socket) => {
      received = readAll(socket);
      socket.end("banner");
    });
    const { server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    expect((await readAll(socket)).toString()).toBe("banner");
    socket.end(upload);
    await closeCode(socket);
    expect((await received)?.equals(upload)).toBe(true);
    expect(await server.closing()).toMatchObject({ reason: "ok", bytesSent: upload.length, bytesReceived: 6 });
  });

  it("keeps what was written before an end that comes at once", async () => {
    const app = await startApp((socket) => socket.end("bye"));
    const { caller } = await startMesh(kinds, { app });
    for (let i = 0; i < 20; i += 1) {
      const socket = await dialApp(caller.outbound);
      socket.end();
      expect((await readAll(socket)).toString()).toBe("bye");
    }
  });

  it("turns the client's reset into a reset at the server, not an end", async () => {
    const ends: string[] = [];
    const app = await startApp((socket) => {
      socket.on("end", () => ends.push("end"));
      echo(socket);
    });
    const { client, server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    const code = closeCode(await connectionOf(app));
    socket.resetAndDestroy();
    expect(await code).toBe("ECONNRESET");
    expect(ends).toEqual([]);
    expect((await client.closing()).reason).toBe("reset-by-source");
    expect((await server.closing()).reason).toBe("reset-by-source");
  });

  it("turns the server's reset into a reset at the client, not an end", async () => {
    const app = await startApp(echo);
    const { client, server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    let ended = false;
    socket.once("end", () => {
      ended = true;
    });
    const code = closeCode(socket);
    app.connections[0]?.resetAndDestroy();
    expect(await code).toBe("ECONNRESET");
    expect(ended).toBe(false);
    expect((await client.closing()).reason).toBe("reset-by-destination");
    expect((await server.closing()).reason).toBe("reset-by-destination");
  });

  it("resets in the middle of a transfer, too", async () => {
    const app = await startApp((socket) => {
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024)));
      };
      socket.on("drain", more);
      more();
    });
    const { client, server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    await once(socket, "data");
    const code = closeCode(await connectionOf(app));
    socket.resetAndDestroy();
    expect(["ECONNRESET", "EPIPE"]).toContain(await code);
    expect((await client.closing()).reason).toBe("reset-by-source");
    expect((await server.closing()).reason).toBe("reset-by-source");
  });

  it("resets the client when the application refuses, and says why on both sides", async () => {
    const app = await startApp(echo);
    app.server.close();
    const { client, server, caller } = await startMesh(kinds, { app });
    expect(await closeCode(await dialApp(caller.outbound))).toBe("ECONNRESET");
    expect(await client.closing()).toMatchObject({
      reason: "peer-refused",
      detail: "503 connect-failed",
      bytesSent: 0,
      connectedMs: -1,
    });
    expect((await server.closing()).reason).toBe("connect-failed");
  });

  it("carries 100 MiB each way at once without a wrong byte", async () => {
    const blocks = Array.from({ length: 100 }, () => randomBytes(MiB));
    const hashes: { bytes: number; hash: string }[] = [];
    const app = await startApp((socket) => {
      void hashAll(socket).then((hash) => hashes.push(hash));
      void pour(socket, blocks);
    });
    const { client, server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    const [downloaded] = await Promise.all([hashAll(socket), pour(socket, blocks)]);
    await Promise.all([client.closing(), server.closing()]);
    expect(downloaded.bytes).toBe(100 * MiB);
    await expect.poll(() => hashes, { interval: 5 }).toEqual([downloaded]);
    for (const { closed } of [client, server]) {
      expect(closed).toMatchObject([{ reason: "ok", bytesSent: 100 * MiB, bytesReceived: 100 * MiB }]);
    }
  });

  it("carries 200 flows on one tunnel", async () => {
    const app = await startApp(echo);
    const { client, server, caller } = await startMesh(kinds, { app, limits: { flowsPerTunnel: 200 }, workers: 1 });
    const sockets = await Promise.all(Array.from({ length: 200 }, () => dialApp(caller.outbound)));
    const answers = await Promise.all(sockets.map((socket, i) => ping(socket, `flow ${i}`)));
    expect(answers).toEqual(sockets.map((_, i) => `flow ${i}`));
    expect(client.tunnels()).toMatchObject([{ direction: "outbound", flows: 200 }]);
    expect(server.tunnels()).toMatchObject([{ direction: "inbound", flows: 200 }]);
    expect(client.engine.stats()).toMatchObject({
      flowsOpen: 200,
      flowsTotal: 200,
      tunnelsOpen: 1,
      handshakesTotal: 1,
    });
    for (const socket of sockets) socket.end();
    await client.closing(200);
    await server.closing(200);
    expect(new Set([...client.closed, ...server.closed].map(({ reason }) => reason))).toEqual(new Set(["ok"]));
  });

  it("lets a slow reader hold up nobody but its own sender", async () => {
    const received: Socket[] = [];
    const app = await startApp((socket) => {
      received.push(socket);
      if (received.length > 1) echo(socket);
    });
    const { client, server, caller } = await startMesh(kinds, { app });
    const slow = await dialApp(caller.outbound);
    const stuck = await stall(slow);
    const fast = await dialApp(caller.outbound);
    const sent = pour(
      fast,
      Array.from({ length: 24 }, () => Buffer.alloc(MiB, 1)),
    );
    expect((await hashAll(fast)).bytes).toBe(24 * MiB);
    await sent;
    expect(client.tunnels()).toHaveLength(1);
    // Whatever the sender would like to send, beside the kernel's own buffers a stalled flow holds this much.
    const { streamWindow, bufferPerFlow } = client.options.limits;
    for (const node of [client, server]) {
      expect(node.engine.stats().bufferedBytes).toBeLessThanOrEqual(streamWindow + bufferPerFlow);
    }
    const drained = hashAll(received[0] as Socket);
    slow.end();
    expect((await drained).bytes).toBeGreaterThanOrEqual(stuck);
    received[0]?.end();
    expect(await closeCode(slow)).toBe("");
    expect((await client.closing(2)).reason).toBe("ok");
  });

  it("ends with the tunnel when that is cut, by a reset and not by an end", async () => {
    const app = await startApp(echo);
    const { client, server, caller } = await startMesh(kinds, { app });
    const socket = await dialApp(caller.outbound);
    await ping(socket);
    const codes = Promise.all([closeCode(socket), closeCode(await connectionOf(app))]);
    server.engine.closeTunnels([server.tunnels()[0]?.tunnel ?? (0 as never)], "closed-by-operator");
    expect(await codes).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect((await server.closing()).reason).toBe("closed-by-operator");
    expect((await server.tunnelDown()).reason).toBe("closed-by-operator");
    expect((await client.closing()).reason).toBe("tunnel-lost");
    expect((await client.tunnelDown()).reason).toBe("tunnel-lost");
  });

  it.each(["client", "server"] as const)("can be closed by its id at the %s", async (side) => {
    const app = await startApp(echo);
    const mesh = await startMesh(kinds, { app });
    const [one, other] = [await dialApp(mesh.caller.outbound), await dialApp(mesh.caller.outbound)];
    await ping(one);
    await ping(other);
    const node = mesh[side];
    const [row] = node.rows();
    expect(row).toMatchObject({ bytesSent: 4, bytesReceived: 4, tunnel: node.tunnels()[0]?.tunnel });
    node.engine.closeFlows([row?.flow ?? (0 as never)], "policy-changed");
    expect(await closeCode(one)).toBe("ECONNRESET");
    expect(await node.closing()).toMatchObject({ flow: row?.flow, reason: "policy-changed" });
    expect(await ping(other, "still here")).toBe("still here");
    expect(node.rows()).toHaveLength(1);
  });

  it("is listed by pod, role, peer and tunnel", async () => {
    const app = await startApp(echo);
    const { server, caller, callee } = await startMesh(kinds, { app });
    await ping(await dialApp(caller.outbound));
    const count = (filter: Parameters<typeof server.engine.flows>[0]) => {
      let rows = 0;
      server.engine.flows(filter, () => {
        rows += 1;
      });
      return rows;
    };
    const tunnel = server.tunnels()[0]?.tunnel ?? (0 as never);
    expect(count({ pod: callee.handle, role: "inbound-hbone", peer: caller.identity, tunnel })).toBe(1);
    expect(count({ role: "outbound" })).toBe(0);
    expect(count({ peer: callee.identity })).toBe(0);
    expect(count({ pod: 999 as never })).toBe(0);
  });

  it("takes the next target when the first peer cannot be reached, refuses, or is not whom it should be", async () => {
    const app = await startApp(echo);
    const { client, caller, callee } = await startMesh(kinds, { app });
    const good = carryTo(client, caller, callee, app.port).targets[0];
    const nobody = client.group(caller, { address: freshAddress(), port: 15_008 }, callee.identity);
    const impostor = client.group(caller, callee.hbone, caller.identity);
    for (const bad of [nobody, impostor]) {
      client.decideFlow = () => ({
        kind: "carry",
        label: 1,
        targets: [
          { group: bad, authority: `${callee.address}:1`, weight: 1 },
          { ...(good ?? { group: bad, authority: "" }), weight: 0 },
        ],
        baggage: "",
        forwardedHost: "",
      });
      expect(await ping(await dialApp(caller.outbound))).toBe("ping");
    }
    expect(client.engine.stats().retriesTotal).toBe(2);
  });

  it("shares new flows between targets by weight", async () => {
    const app = await startApp(echo);
    const { client, server, caller, callee, calleeCredential } = await startMesh(kinds, { app });
    const second = await server.addPod(server.addCredential(calleeCredential), callee.identity);
    const [one, two] = [callee, second].map((pod) => carryTo(client, caller, pod, app.port).targets[0]);
    if (one === undefined || two === undefined) throw new Error("no targets");
    const decision = carryTo(client, caller, callee, app.port);
    client.decideFlow = () => ({
      ...decision,
      targets: [
        { ...one, weight: 3 },
        { ...two, weight: 1 },
      ],
    });
    for (let i = 0; i < 40; i += 1) await ping(await dialApp(caller.outbound));
    const heavy = client
      .tunnels()
      .filter(({ peerAddress }) => peerAddress.address === callee.address)
      .reduce((sum, { flows }) => sum + flows, 0);
    expect(heavy).toBeGreaterThan(20);
    expect(heavy).toBeLessThan(40);
  });
});

async function pour(socket: Socket, blocks: readonly Buffer[]): Promise<void> {
  for (const block of blocks) if (!socket.write(block)) await once(socket, "drain");
  socket.end();
}

/** Writes until nothing is taken any more; returns how much was. */
async function stall(socket: Socket): Promise<number> {
  const block = Buffer.alloc(64 * 1024);
  let drained = true;
  while (drained) {
    drained =
      socket.write(block) ||
      (await Promise.race([
        once(socket, "drain").then(() => true),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 500)),
      ]));
  }
  return socket.bytesWritten - socket.writableLength;
}
