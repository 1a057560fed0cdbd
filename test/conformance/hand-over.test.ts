/** Flows whose plaintext TypeScript takes over. */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { beforeAll, describe, expect, it } from "vitest";
import { type FlowClosed, FlowEnd, type HandOverDecision } from "../../src/tunnel/engine.ts";
import { closeCode, dialApp, hashAll, readAll } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import { rawClient, rawConnect } from "./support/raw-peers.ts";

const MiB = 2 ** 20;
const handOver: HandOverDecision = { kind: "hand-over", label: 9, baggage: "service.name=web" };
const server = identity("server");

let pki: MeshPki;
beforeAll(async () => {
  pki = await MeshPki.create();
});

describe.each(engines)("a flow handed over by the $name engine", (kind: EngineKind) => {
  async function start(overrides: ConstructorParameters<typeof NodeUnderTest>[1] = {}) {
    const node = new NodeUnderTest(kind, overrides);
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    node.decideFlow = () => handOver;
    node.decideConnect = () => handOver;
    const plaintext = async (): Promise<Duplex> => {
      await expect.poll(() => node.handedOver.size, { interval: 5 }).toBeGreaterThan(0);
      return [...node.handedOver.values()].at(-1) as Duplex;
    };
    return { node, pod, plaintext };
  }

  it("brings a captured connection's bytes both ways and counts them", async () => {
    const { node, pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    socket.write("question");
    const duplex = await plaintext();
    const [question] = (await once(duplex, "data")) as [Buffer];
    expect(question.toString()).toBe("question");
    duplex.write("answer");
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toBe("answer");
    expect(node.rows()).toMatchObject([{ role: "inbound-plaintext", label: 9, bytesSent: 8, bytesReceived: 6 }]);
    socket.end();
    await once(duplex, "end");
    duplex.end();
    expect(await node.closing()).toMatchObject({ reason: "ok", bytesSent: 8, bytesReceived: 6, target: undefined });
    expect(await closeCode(socket)).toBe("");
  });

  it("answers a CONNECT with 200 at once", async () => {
    const { node, pod, plaintext } = await start();
    const { session } = await rawClient(pod.hbone, await pki.issue(identity("client")));
    const { headers, stream } = await rawConnect(session, `${pod.address}:80`);
    expect(headers).toMatchObject({ ":status": 200, baggage: "service.name=web" });
    const duplex = await plaintext();
    stream.end("in");
    duplex.end("out");
    const [[sent], [got]] = (await Promise.all([once(duplex, "data"), once(stream, "data")])) as [[Buffer], [Buffer]];
    expect([sent.toString(), got.toString()]).toEqual(["in", "out"]);
    stream.resume();
    duplex.resume();
    expect(await node.closing()).toMatchObject({ reason: "ok", role: "inbound-hbone", bytesSent: 2, bytesReceived: 3 });
  });

  it("tells the trace that its CONNECT brought, where traces are carried", async () => {
    const { node, pod, plaintext } = await start({ traces: { carried: true, share: 0 } });
    const { session } = await rawClient(pod.hbone, await pki.issue(identity("client")));
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const { stream } = await rawConnect(session, `${pod.address}:80`, { traceparent });
    const duplex = await plaintext();
    stream.resume().end();
    duplex.resume().end();
    expect(await node.closing()).toMatchObject({ reason: "ok", role: "inbound-hbone", traceparent });
  });

  it("half-closes both ways", async () => {
    const { pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    socket.end("all of it");
    const duplex = await plaintext();
    let question = "";
    for await (const chunk of duplex.iterator({ destroyOnReturn: false })) question += String(chunk);
    expect(question).toBe("all of it");
    duplex.end("and the answer");
    expect((await readAll(socket)).toString()).toBe("and the answer");
  });

  it("moves 32 MiB each way with back pressure", async () => {
    const { pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    const block = Buffer.alloc(MiB, 7);
    const sending = (async () => {
      for (let i = 0; i < 32; i += 1) if (!socket.write(block)) await once(socket, "drain");
      socket.end();
    })();
    const duplex = await plaintext();
    duplex.pipe(duplex);
    expect((await hashAll(socket)).bytes).toBe(32 * MiB);
    await sending;
  });

  it("stops its sender while nobody reads", async () => {
    const { node, pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    await plaintext();
    let taken = true;
    while (taken) taken = socket.write(Buffer.alloc(MiB)) && socket.bytesWritten < 256 * MiB;
    expect(node.engine.stats().bufferedBytes).toBeLessThanOrEqual(node.options.limits.bufferPerFlow * 2);
  });

  it.each([
    ["a FlowEnd closes it with its reason", new FlowEnd("policy-denied"), "policy-denied"],
    ["any other error is the destination's", new Error("upstream gone"), "reset-by-destination"],
    ["no error before its end is the destination's too", undefined, "reset-by-destination"],
  ] as const)("is broken when its duplex is destroyed: %s", async (_title, error, reason) => {
    const { node, pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    const duplex = await plaintext();
    duplex.on("error", () => {});
    duplex.destroy(error);
    expect(await closeCode(socket)).toBe("ECONNRESET");
    expect((await node.closing()).reason).toBe(reason);
  });

  it("delivers an answer that was ended before a FlowEnd, although the client is still sending", async () => {
    const { node, pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    socket.write("GET / HTTP/1.1\r\n");
    const duplex = await plaintext();
    duplex.on("error", () => {});
    duplex.end("403");
    await once(duplex, "finish");
    socket.write("more that nobody reads");
    duplex.destroy(new FlowEnd("policy-denied"));
    expect((await readAll(socket)).toString()).toBe("403");
    expect((await node.closing()).reason).toBe("policy-denied");
  });

  it("tells the reader by an error when the client resets", async () => {
    const { node, pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    const duplex = await plaintext();
    duplex.resume();
    const failed = once(duplex, "error");
    socket.resetAndDestroy();
    await failed;
    expect((await node.closing()).reason).toBe("reset-by-source");
  });

  it("tells the reader by an error when it is closed by id", async () => {
    const { node, pod, plaintext } = await start();
    const socket = await dialApp(pod.inbound);
    const duplex = await plaintext();
    const failed = once(duplex, "error") as Promise<[FlowEnd]>;
    node.engine.closeFlows([node.rows()[0]?.flow ?? (0 as never)], "policy-changed");
    const [error] = await failed;
    expect(error.reason).toBe("policy-changed");
    const record: FlowClosed = await node.closing();
    expect(record.reason).toBe("policy-changed");
    expect(await closeCode(socket)).toBe("ECONNRESET");
  });

  it("breaks with its tunnel", async () => {
    const { node, pod, plaintext } = await start();
    const { session, socket } = await rawClient(pod.hbone, await pki.issue(identity("client")));
    await rawConnect(session, `${pod.address}:80`);
    const duplex = await plaintext();
    const failed = once(duplex, "error");
    socket.destroy();
    await failed;
    expect((await node.closing()).reason).toBe("tunnel-lost");
  });
});
