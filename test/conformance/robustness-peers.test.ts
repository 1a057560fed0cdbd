/** Peers and strangers that stall: half-made connections by the hundred, and peers that go away without a word. */
import { once } from "node:events";
import type { Socket } from "node:net";
import { beforeAll, describe, expect, it } from "vitest";
import type { SocketAddress } from "../../src/model/address.ts";
import { unlessStalled } from "../support/stalls.ts";
import { closeCode, connectionOf, dialApp, echo, ping, startApp } from "./support/apps.ts";
import { type EngineKind, enginePairs, engines } from "./support/engines.ts";
import { identity, MeshPki, type Papers } from "./support/mesh-pki.ts";
import { carryTo, deliverTo, startMesh } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import type { OptionOverrides } from "./support/options.ts";
import { rawClient, rawConnect, rawTls } from "./support/raw-peers.ts";
import { connections, startPath } from "./support/stalled-peers.ts";

const server = identity("server");

let pki: MeshPki;
let papers: Papers;
beforeAll(async () => {
  pki = await MeshPki.create();
  papers = await pki.issue(identity("client"));
});

/** A TLS record that announces a ClientHello of 500 bytes and holds the first 4 (RFC 8446 §5.1). */
const halfHello = Buffer.from([22, 3, 1, 1, 248, 1, 0, 1, 244]);

describe.each(engines)("half-made connections to the $name engine", (kind: EngineKind) => {
  async function start(overrides: OptionOverrides) {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind, overrides);
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const served = async () => {
      const { session } = await rawClient(pod.hbone, papers);
      const { stream } = await rawConnect(session, `${pod.address}:80`);
      stream.write("ping");
      expect(String(await once(stream, "data"))).toBe("ping");
      session.close();
      stream.destroy();
    };
    // Where time limits are short, a machine that stands still for a moment makes a good client miss them, too: it comes again.
    const servedAgain = () => expect.poll(() => served().then(() => "served", String)).toBe("served");
    return { app, node, pod, served, servedAgain };
  }

  const crowds = [
    ["silent", ""],
    ["stuck in their ClientHello", "hello"],
  ] as const;

  async function crowd(to: SocketAddress, said: string): Promise<Socket[]> {
    const slow = await connections(to, 300);
    if (said !== "") for (const socket of slow) socket.write(halfHello);
    return slow;
  }

  it.each(crowds)("that are %s keep nobody else out", async (_title, said) => {
    const { pod, served } = await start({ limits: { inboundTunnelsPerPod: 512 }, timeouts: { tls: 60_000 } });
    const slow = await crowd(pod.hbone, said);
    for (let i = 0; i < 3; i += 1) await served();
    expect(slow.every((socket) => socket.readyState === "open")).toBe(true);
  });

  it.each(crowds)("that are %s are closed in time", async (_title, said) => {
    const { node, pod, servedAgain } = await start({
      limits: { inboundTunnelsPerPod: 512 },
      timeouts: { tls: 500 },
    });
    const slow = await crowd(pod.hbone, said);
    await Promise.all(slow.map(closeCode));
    await expect
      .poll(() => node.tunnelsDown.filter(({ reason }) => reason === "tls-timeout").length, { interval: 5 })
      .toBe(300);
    expect(node.engine.stats().handshakesFailedTotal).toBe(300);
    await servedAgain();
  });

  it("that did TLS and never speak HTTP/2 are closed in time, too", async () => {
    const { node, pod, servedAgain } = await start({
      limits: { inboundTunnelsPerPod: 512 },
      timeouts: { tls: 60_000, http2: 1_000 },
    });
    // The first may be closed while the last ones are still shaking hands.
    const closed: Promise<string | undefined>[] = [];
    const slow = Array.from({ length: 60 }, async () => closed.push(closeCode(await rawTls(pod.hbone, papers))));
    await Promise.all(slow);
    await servedAgain();
    await Promise.all(closed);
    await expect
      .poll(() => node.tunnelsDown.filter(({ reason }) => reason === "h2-failed").length, { interval: 5 })
      .toBeGreaterThanOrEqual(60);
    await servedAgain();
    await expect.poll(() => node.engine.stats().tunnelsOpen, { interval: 5 }).toBe(0);
  });

  it("that fill one pod's share leave another pod's alone", async () => {
    const { app, node, pod, served } = await start({
      limits: { inboundTunnelsPerPod: 100 },
      timeouts: { tls: 60_000 },
    });
    const other = await node.addPod(pod.credential, server);
    const decide = node.decideConnect;
    node.decideConnect = (event) => (event.pod === other.handle ? deliverTo(other, app, event) : decide(event));
    const strangers = await connections(other.hbone, 250);
    const refused = strangers.map(closeCode);
    await served();
    await expect.poll(() => node.engine.stats().shedTotal, { interval: 5 }).toBe(150);
    await served();
    // The share is free again once the strangers are gone.
    for (const socket of strangers) socket.destroy();
    await Promise.all(refused);
    const again = async () => {
      const { session } = await rawClient(other.hbone, papers);
      return (await rawConnect(session, `${other.address}:80`)).headers[":status"];
    };
    await expect.poll(again).toBe(200);
  });
});

describe.each(enginePairs)("a peer that vanishes without a word, from $name", (kinds) => {
  const timeouts = { pingInterval: 150, pingTimeout: 1_500 };

  async function start() {
    const app = await startApp(echo);
    const mesh = await startMesh(kinds, { app, timeouts });
    const { client, caller, callee } = mesh;
    const path = await startPath(callee.hbone);
    client.decideFlow = () => carryTo(client, caller, { ...callee, hbone: path }, app.port);
    const socket = await dialApp(caller.outbound);
    expect(await ping(socket)).toBe("ping");
    return { ...mesh, app, path, socket };
  }

  it("is noticed by both ends within the PING's time, and their flows are reset", async () => {
    await unlessStalled(300, async () => {
      const { app, client, server, path, socket } = await start();
      const delivered = await connectionOf(app);
      path.vanish();
      const since = performance.now();
      const codes = await Promise.all([closeCode(socket), closeCode(delivered)]);
      const took = performance.now() - since;
      expect(codes).toEqual(["ECONNRESET", "ECONNRESET"]);
      expect(await client.tunnelDown()).toMatchObject({ direction: "outbound", reason: "tunnel-lost" });
      expect(await server.tunnelDown()).toMatchObject({ direction: "inbound", reason: "tunnel-lost" });
      expect((await client.closing()).reason).toBe("tunnel-lost");
      expect((await server.closing()).reason).toBe("tunnel-lost");
      // Not before the answer was due. (Upper bounds of times are the test's own time limit.)
      expect(took).toBeGreaterThan(timeouts.pingTimeout * 0.9);
      for (const node of [client, server]) expect(node.engine.stats()).toMatchObject({ flowsOpen: 0, tunnelsOpen: 0 });
    });
  });

  it("does not end a tunnel that is merely idle for many PINGs", async () => {
    await unlessStalled(300, async () => {
      const { client, server, path, socket } = await start();
      // Three more tunnels would have been needed had each lived for one interval only.
      await expect
        .poll(() => Date.now() - (server.tunnels()[0]?.openedAt ?? Date.now()), { timeout: 30_000 })
        .toBeGreaterThan(timeouts.pingTimeout + 3 * timeouts.pingInterval);
      expect(await ping(socket)).toBe("ping");
      expect(path.accepted).toHaveLength(1);
      expect(client.tunnelsDown).toEqual([]);
    });
  });

  it("lets flows through a new tunnel as soon as the path is back", async () => {
    await unlessStalled(300, async () => {
      const { client, caller, callee, path, socket } = await start();
      path.vanish();
      await closeCode(socket);
      expect((await client.closing()).reason).toBe("tunnel-lost");
      // The path passes new connections on.
      expect(await ping(await dialApp(caller.outbound))).toBe("ping");
      expect(path.accepted).toHaveLength(2);
      expect(client.tunnelsUp.at(-1)?.peer).toBe(callee.identity);
    });
  });
});
