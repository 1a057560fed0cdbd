/** Tunnels of an engine towards peers that share no code with it: reuse, limits, GOAWAY, and peers that are dead or half dead. */
import { once } from "node:events";
import { constants, type ServerHttp2Stream } from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { SocketAddress } from "../../src/model/address.ts";
import { unlessStalled } from "../support/stalls.ts";
import { closeCode, dialApp, ping, watchErrors } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { carry } from "./support/flows.ts";
import { freshAddress, ports } from "./support/loopback.ts";
import { identity, MeshPki, type Papers } from "./support/mesh-pki.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import type { OptionOverrides } from "./support/options.ts";
import { frameType, RawFrames } from "./support/raw-frames.ts";
import { echoStream, type RawServer, rawServer } from "./support/raw-peers.ts";

const server = identity("server");
const client = identity("client");

let pki: MeshPki;
let papers: Papers;
beforeAll(async () => {
  pki = await MeshPki.create();
  papers = await pki.issue(server);
});

/** A TCP server that accepts and says nothing: what a hung agent looks like. */
async function deafServer(): Promise<{ address: string; port: number; accepted: Socket[] }> {
  const accepted: Socket[] = [];
  const deaf = createServer((socket) => {
    accepted.push(watchErrors(socket));
  });
  const address = freshAddress();
  deaf.listen(ports.hbone, address);
  await once(deaf, "listening");
  onTestFinished(() => {
    for (const socket of accepted) socket.destroy();
    deaf.close();
  });
  return { address, port: ports.hbone, accepted };
}

/** An HBONE server that says only what a test writes, frame by frame. */
async function framesServer(): Promise<SocketAddress & { tunnels: { socket: TLSSocket; frames: RawFrames }[] }> {
  const tunnels: { socket: TLSSocket; frames: RawFrames }[] = [];
  const { chain, key, trust } = papers;
  const options = {
    cert: chain,
    key,
    ca: trust,
    requestCert: true,
    minVersion: "TLSv1.3",
    ALPNProtocols: ["h2"],
  } as const;
  const frames = createTlsServer(options, (socket) => {
    tunnels.push({ socket: watchErrors(socket), frames: new RawFrames(socket, { end: "server" }) });
  });
  const address = freshAddress();
  frames.listen(ports.hbone, address);
  await once(frames, "listening");
  onTestFinished(() => {
    for (const { socket } of tunnels) socket.destroy();
    frames.close();
  });
  return { address, port: ports.hbone, tunnels };
}

/** A way to `target` that can stop moving bytes while both its connections stay open: a peer whose process hangs. */
async function freezablePath(target: SocketAddress): Promise<SocketAddress & { freeze(): void }> {
  const sockets: Socket[] = [];
  const path = createServer((near) => {
    const far = connect({ host: target.address, port: target.port });
    for (const socket of [near, far]) sockets.push(watchErrors(socket));
    near.pipe(far).pipe(near);
  });
  const address = freshAddress();
  path.listen(ports.hbone, address);
  await once(path, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    path.close();
  });
  return {
    address,
    port: ports.hbone,
    freeze: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
  };
}

describe.each(engines)("a tunnel group of the $name engine", (kind: EngineKind) => {
  async function start(overrides: OptionOverrides = {}, handle: (stream: ServerHttp2Stream) => void = echoStream) {
    const peer = await rawServer(papers, handle, { settings: { maxConcurrentStreams: 100 } });
    const node = new NodeUnderTest(kind, overrides);
    const pod = await node.addPod(node.addCredential(await pki.credential(client)), client);
    const group = node.group(pod, peer, server);
    node.decideFlow = () => carry(group);
    const flow = () => dialApp(pod.outbound);
    return { peer, node, pod, group, flow };
  }

  it("is one and the same for equal specs until it is released", async () => {
    const { peer, node, pod, group, flow } = await start();
    const other = identity("other");
    expect(node.group(pod, peer, server)).toBe(group);
    expect(node.group(pod, peer, server, other)).toBe(node.group(pod, peer, other, server));
    expect(node.group(pod, peer, other)).not.toBe(group);
    expect(node.engine.stats().groups).toBe(3);
    await ping(await flow());
    node.engine.releaseGroup(group);
    const next = node.group(pod, peer, server);
    expect(next).not.toBe(group);
    // The old group takes nothing new, and goes with its last flow.
    expect(await closeCode(await flow())).toBe("ECONNRESET");
    expect(node.engine.stats().groups).toBe(4);
    node.engine.closeFlows([node.rows()[0]?.flow ?? (0 as never)], "closed-by-operator");
    await expect.poll(() => node.engine.stats().groups, { interval: 5 }).toBe(3);
  });

  it("carries one flow after another on one tunnel", async () => {
    const { peer, node, flow } = await start();
    for (let i = 0; i < 5; i += 1) {
      const socket = await flow();
      await ping(socket);
      socket.end();
      await closeCode(socket);
    }
    expect(peer.accepted).toHaveLength(1);
    expect(node.tunnelsUp).toHaveLength(1);
  });

  it("opens a second tunnel when the first is full, and no more than it may", async () => {
    await unlessStalled(500, async () => {
      const { peer, node, flow } = await start({
        limits: { flowsPerTunnel: 2, tunnelsPerGroup: 2 },
        timeouts: { connectAnswer: 1_500 },
      });
      const sockets = [];
      for (let i = 0; i < 4; i += 1) {
        const socket = await flow();
        await ping(socket);
        sockets.push(socket);
      }
      expect(node.tunnels().map(({ flows }) => flows)).toEqual([2, 2]);
      expect(await closeCode(await flow())).toBe("ECONNRESET");
      expect(await node.closing()).toMatchObject({ reason: "limit-flows" });
      // A flow that waits gets the slot of one that ends.
      const waiting = ping(await flow());
      sockets[0]?.end();
      expect(await waiting).toBe("ping");
      expect(peer.accepted).toHaveLength(2);
    });
  });

  it("opens as many tunnels for a burst as the burst needs", async () => {
    const { peer, node, flow } = await start({ limits: { flowsPerTunnel: 10, tunnelsPerGroup: 8 } });
    const sockets = await Promise.all(Array.from({ length: 40 }, flow));
    await Promise.all(sockets.map((socket) => ping(socket)));
    expect(peer.accepted).toHaveLength(4);
    expect(node.tunnels().every(({ flows }) => flows === 10)).toBe(true);
  });

  it("obeys the peer's limit of streams when that is lower than its own", async () => {
    const peer = await rawServer(papers, echoStream, { settings: { maxConcurrentStreams: 3 } });
    const node = new NodeUnderTest(kind);
    const pod = await node.addPod(node.addCredential(await pki.credential(client)), client);
    node.decideFlow = () => carry(node.group(pod, peer, server));
    const sockets = await Promise.all(Array.from({ length: 9 }, () => dialApp(pod.outbound)));
    await Promise.all(sockets.map((socket) => ping(socket)));
    expect(node.tunnels().map(({ flows }) => flows)).toEqual([3, 3, 3]);
  });

  it("gives a new flow to the tunnel that has the fewest", async () => {
    const { node, flow } = await start({ limits: { flowsPerTunnel: 3, tunnelsPerGroup: 2 } });
    const sockets = [];
    for (let i = 0; i < 6; i += 1) {
      const socket = await flow();
      await ping(socket);
      sockets.push(socket);
    }
    for (const socket of sockets.slice(0, 2)) {
      socket.end();
      await closeCode(socket);
    }
    await node.closing(2);
    await ping(await flow());
    await ping(await flow());
    expect(node.tunnels().map(({ flows }) => flows)).toEqual([3, 3]);
  });

  it("goes round a peer's GOAWAY: open flows stay, new ones take a new tunnel", async () => {
    const { peer, node, flow } = await start();
    const old = await flow();
    await ping(old);
    peer.sessions[0]?.goaway(constants.NGHTTP2_NO_ERROR);
    await new Promise((resolve) => peer.sessions[0]?.ping(resolve));
    await ping(await flow());
    expect(peer.accepted).toHaveLength(2);
    expect(await ping(old, "still here")).toBe("still here");
    old.end();
    // The old tunnel closes with its last flow.
    expect(await node.tunnelDown()).toMatchObject({ tunnel: node.tunnelsUp[0]?.tunnel, reason: "ok" });
    expect(node.closed.map(({ reason }) => reason)).toEqual(["ok"]);
  });

  it("carries a flow over again whose stream the peer's GOAWAY refused", async () => {
    let refused = 0;
    const { node, flow } = await start({}, (stream) => {
      if (refused > 0) {
        echoStream(stream);
        return;
      }
      refused += 1;
      stream.session?.goaway(constants.NGHTTP2_NO_ERROR);
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
    });
    expect(await ping(await flow())).toBe("ping");
    expect(node.engine.stats().retriesTotal).toBe(1);
  });

  it("sends a flow elsewhere that was given the room of a stream which ended while its tunnel began to drain", async () => {
    // Longer than the test: what is forgotten is not made good by a time limit.
    const { node, pod } = await start({
      limits: { flowsPerTunnel: 2, tunnelsPerGroup: 1 },
      timeouts: { connectAnswer: 3_600_000 },
    });
    const peer = await framesServer();
    node.decideFlow = () => carry(node.group(pod, peer, server));
    const asked = (tunnel: number) => peer.tunnels[tunnel]?.frames.of(frameType.headers).length;
    await Promise.all([dialApp(pod.outbound), dialApp(pod.outbound)]);
    await expect.poll(() => asked(0), { interval: 5 }).toBe(2);
    await dialApp(pod.outbound);
    await expect.poll(() => node.engine.stats().decisionsTotal, { interval: 5 }).toBe(3);
    // In one write: the engine gives the place to the flow that waits, and hears in the same breath that there is none.
    peer.tunnels[0]?.socket.cork();
    peer.tunnels[0]?.frames.send(frameType.rstStream, 0, 1, Buffer.alloc(4));
    peer.tunnels[0]?.frames.send(frameType.goaway, 0, 0, Buffer.from([0, 0, 0, 3, 0, 0, 0, 0]));
    peer.tunnels[0]?.socket.uncork();
    await expect.poll(() => node.closed.length, { interval: 5 }).toBe(1);
    await expect.poll(() => asked(1), { interval: 5 }).toBe(1);
  });

  it("loses its flows, with resets, when the peer vanishes", async () => {
    const { peer, node, flow } = await start();
    const sockets = await Promise.all([flow(), flow()]);
    await Promise.all(sockets.map((socket) => ping(socket)));
    peer.accepted[0]?.resetAndDestroy();
    expect(await Promise.all(sockets.map(closeCode))).toEqual(["ECONNRESET", "ECONNRESET"]);
    const lost = { reason: "tunnel-lost", peer: server, detail: expect.stringContaining("ECONNRESET") };
    expect(await node.tunnelDown()).toMatchObject(lost);
    expect(node.closed).toMatchObject([lost, lost]);
    // And the next flow finds a new one.
    expect(await ping(await flow())).toBe("ping");
  });

  it("loses its flows when the peer ends the connection for an error", async () => {
    const { peer, node, flow } = await start();
    const socket = await flow();
    await ping(socket);
    peer.sessions[0]?.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
    expect(await closeCode(socket)).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe("tunnel-lost");
    expect((await node.tunnelDown()).reason).toBe("tunnel-lost");
    expect(await ping(await flow())).toBe("ping");
  });

  it("notices by PING that a silent peer is gone", async () => {
    await unlessStalled(500, async () => {
      const { peer, node, pod } = await start({ timeouts: { pingInterval: 50, pingTimeout: 1_500 } });
      const path = await freezablePath(peer);
      node.decideFlow = () => carry(node.group(pod, path, server));
      const socket = await dialApp(pod.outbound);
      await ping(socket);
      // Its kernel still acknowledges everything.
      path.freeze();
      expect(await closeCode(socket)).toBe("ECONNRESET");
      expect(await node.tunnelDown()).toMatchObject({ reason: "tunnel-lost", detail: "no answer to PING" });
      expect((await node.closing()).reason).toBe("tunnel-lost");
    });
  });

  it("keeps a tunnel whose peer answers PINGs, one an interval after the other", async () => {
    const { peer, node, flow } = await start({ timeouts: { pingInterval: 10, pingTimeout: 30_000 } });
    const socket = await flow();
    await ping(socket);
    let pings = 0;
    peer.sessions[0]?.on("ping", () => {
      pings += 1;
    });
    await expect.poll(() => pings, { interval: 5 }).toBeGreaterThan(5);
    expect(await ping(socket)).toBe("ping");
    expect(node.tunnelsUp).toHaveLength(1);
    expect(node.tunnelsDown).toEqual([]);
  });

  it("closes a tunnel that carries nothing for a while", async () => {
    const { peer, node, flow } = await start({ timeouts: { tunnelIdle: 100 } });
    const socket = await flow();
    await ping(socket);
    socket.end();
    await closeCode(socket);
    expect(await node.tunnelDown()).toMatchObject({ reason: "ok" });
    await expect.poll(() => peer.sessions[0]?.destroyed, { interval: 5 }).toBe(true);
  });

  it("opens no more tunnels than a pod may, and keeps none idle once they are more than half of that", async () => {
    const { node, pod } = await start({
      limits: { outboundTunnelsPerPod: 4 },
      timeouts: { peerBackoff: 10, peerBackoffMax: 10 },
      workers: 1,
    });
    const peers = await Promise.all(Array.from({ length: 5 }, () => rawServer(papers, echoStream)));
    const load = () => node.engine.podLoads().find((each) => each.pod === pod.handle)?.outboundTunnels;
    const to = (peer: number) => {
      node.decideFlow = () => carry(node.group(pod, peers[peer] as SocketAddress, server));
      return dialApp(pod.outbound);
    };
    const visit = async (peer: number) => {
      const socket = await to(peer);
      expect(await ping(socket)).toBe("ping");
      socket.end();
      await closeCode(socket);
    };
    // Whoever goes through all peers has a tunnel to two of them in the end.
    for (let peer = 0; peer < peers.length; peer += 1) {
      await visit(peer);
      await expect.poll(load, { interval: 5 }).toBe(Math.min(peer + 1, 2));
    }
    const held: Socket[] = [];
    for (const peer of [2, 3]) {
      const socket = await to(peer);
      expect(await ping(socket)).toBe("ping");
      held.push(socket);
    }
    expect(load()).toBe(4);
    expect(await closeCode(await to(4))).toBe("ECONNRESET");
    const closed = await node.closing(peers.length + 1);
    expect(closed).toMatchObject({
      reason: "limit-flows",
      detail: expect.stringContaining("the pod has as many tunnels as it may open"),
    });
    // What is there serves on, and there is room again as soon as a tunnel is idle.
    await visit(0);
    held[0]?.end();
    await expect.poll(load, { interval: 5 }).toBeLessThan(4);
    await expect
      .poll(async () => {
        const socket = await to(4);
        return Promise.race([ping(socket), closeCode(socket)]);
      })
      .toBe("ping");
  });

  it("fails every flow that waits for a peer at once, and answers the next from memory", async () => {
    const { node, pod } = await start({
      timeouts: { tls: 300, peerBackoff: 60_000, peerBackoffMax: 60_000 },
      workers: 1,
    });
    const deaf = await deafServer();
    node.decideFlow = () => carry(node.group(pod, deaf, server));
    const sockets = await Promise.all(Array.from({ length: 20 }, () => dialApp(pod.outbound)));
    await Promise.all(sockets.map(closeCode));
    await expect.poll(() => deaf.accepted.length, { interval: 5 }).toBe(1);
    await closeCode(await dialApp(pod.outbound));
    expect(deaf.accepted).toHaveLength(1);
    await node.closing(21);
    expect(new Set(node.closed.map(({ reason }) => reason))).toEqual(new Set(["tls-timeout"]));
  });

  it("tries a failed peer again after the backoff", async () => {
    const { node, pod } = await start({ timeouts: { peerBackoff: 50, peerBackoffMax: 50 } });
    const address = freshAddress();
    node.decideFlow = () => carry(node.group(pod, { address, port: ports.hbone }, server));
    await closeCode(await dialApp(pod.outbound));
    expect((await node.closing()).reason).toBe("connect-failed");
    await rawServer(papers, echoStream, {}, address);
    await expect
      .poll(
        async () => {
          const socket = await dialApp(pod.outbound);
          return Promise.race([ping(socket), closeCode(socket)]);
        },
        { interval: 10 },
      )
      .toBe("ping");
  });

  it("is not held up by another group whose peer is dead", async () => {
    const { node, pod, group } = await start({ timeouts: { tls: 60_000 } });
    const deaf = await deafServer();
    const dead = node.group(pod, deaf, server);
    node.decideFlow = () => carry(dead);
    const stuck = await Promise.all(Array.from({ length: 10 }, () => dialApp(pod.outbound)));
    await expect.poll(() => deaf.accepted.length, { interval: 5 }).toBeGreaterThan(0);
    node.decideFlow = () => carry(group);
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
    expect(node.closed).toEqual([]);
    for (const socket of stuck) socket.destroy();
  });

  it.each([
    ["200 with a body of bytes", 200, "ok"],
    ["401", 401, "peer-refused"],
    ["503", 503, "peer-refused"],
  ] as const)("takes an answer of %s for what it is", async (_title, status, reason) => {
    const { node, flow } = await start({}, (stream) => {
      stream.respond({ ":status": status, "x-warren-reason": "policy-denied" });
      stream.end(status === 200 ? "answer" : "");
      stream.resume();
    });
    const socket = await flow();
    socket.end();
    await closeCode(socket);
    expect(await node.closing()).toMatchObject({
      reason,
      detail: reason === "ok" ? "" : `${status} policy-denied`,
      bytesReceived: reason === "ok" ? 6 : 0,
    });
  });

  it("does not ask another endpoint when a peer judged, only when it failed", async () => {
    const answers = { status: 401, asked: 0 };
    const judging = await rawServer(papers, (stream) => {
      answers.asked += 1;
      stream.respond({ ":status": answers.status }, { endStream: true });
    });
    const { node, pod, group } = await start();
    const asked: RawServer[] = [judging];
    node.decideFlow = () => ({
      ...carry(),
      targets: [
        { group: node.group(pod, asked[0] ?? judging, server), authority: "10.0.0.1:80", weight: 1 },
        { group, authority: "10.0.0.1:80", weight: 0 },
      ],
    });
    expect(await closeCode(await dialApp(pod.outbound))).toBe("ECONNRESET");
    answers.status = 503;
    expect(await ping(await dialApp(pod.outbound))).toBe("ping");
    expect(answers.asked).toBe(2);
  });

  it("does not wait for an answer for ever", async () => {
    const { node, flow } = await start({ timeouts: { connectAnswer: 100 } }, () => {});
    expect(await closeCode(await flow())).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe("connect-unanswered");
    expect(node.tunnels()).toHaveLength(1);
  });

  it("resets the stream of a client that leaves before the answer", async () => {
    const streams: ServerHttp2Stream[] = [];
    const { node, flow } = await start({}, (stream) => streams.push(stream));
    await flow();
    await expect.poll(() => streams.length, { interval: 5 }).toBe(1);
    node.engine.closeFlows([node.rows()[0]?.flow ?? (0 as never)], "closed-by-operator");
    await expect.poll(() => streams[0]?.rstCode, { interval: 5 }).toBe(constants.NGHTTP2_CANCEL);
    expect((await node.closing()).reason).toBe("closed-by-operator");
  });

  it("sends no END_STREAM before the RST_STREAM of a broken connection", async () => {
    const ends: string[] = [];
    const { flow } = await start({}, (stream) => {
      echoStream(stream);
      stream.on("end", () => ends.push("end"));
      stream.on("close", () => ends.push(`closed ${stream.rstCode}`));
    });
    const socket = await flow();
    await ping(socket);
    socket.resetAndDestroy();
    await expect.poll(() => ends, { interval: 5 }).toEqual([`closed ${constants.NGHTTP2_CONNECT_ERROR}`]);
  });

  it("takes new tunnels with the new identity after the pod got another credential", async () => {
    const { peer, node, pod, flow } = await start();
    const peers: string[] = [];
    peer.server.on("secureConnection", (socket) => peers.push(socket.getPeerX509Certificate().subjectAltName));
    await ping(await flow());
    const renamed = identity("renamed");
    node.engine.updatePod(pod.handle, { credential: node.addCredential(await pki.credential(renamed)) });
    await ping(await flow());
    expect(peers).toEqual([`URI:${client}`, `URI:${renamed}`]);
    expect(node.rows()).toHaveLength(2);
  });
});
