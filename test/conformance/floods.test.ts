/**
 * HTTP/2 floods by a peer that has proven who it is and misbehaves all the same: its connection is closed, other tunnels do not
 * notice, and nothing it sent stays in memory. The attacks are those of CVE-2019-9512 (PING), -9515 (SETTINGS), -9518 (empty frames),
 * CVE-2023-44487 (rapid reset) and CVE-2024-28182 (CONTINUATION).
 */
import { once } from "node:events";
import { constants } from "node:http2";
import type { TLSSocket } from "node:tls";
import { beforeAll, describe, expect, it } from "vitest";
import { closeCode, echo, startApp } from "./support/apps.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { identity, MeshPki, type Papers } from "./support/mesh-pki.ts";
import { deliverTo } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import { type Frame, flag, frameType, RawFrames } from "./support/raw-frames.ts";
import { rawClient, rawConnect, rawTls } from "./support/raw-peers.ts";

const MiB = 2 ** 20;
const server = identity("server");
const continuation = 9;

let pki: MeshPki;
let goodPapers: Papers;
let badPapers: Papers;
beforeAll(async () => {
  pki = await MeshPki.create();
  goodPapers = await pki.issue(identity("good"));
  badPapers = await pki.issue(identity("bad"));
});

function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function literal(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]);
}

interface Attack {
  readonly title: string;
  /** The frames of one go, `turn` counting up; what a flood repeats until it is cut off. */
  readonly frames: (turn: number, authority: string) => Buffer;
  /** Whether a stream must be open for it. */
  readonly needsStream: boolean;
  /** Turns for which the connection must be closed. Absent: it is for their number in a second, so the flood goes on until one has as many. */
  readonly most?: number;
  /**
   * node:http2 neither counts these frames nor shows them to its user, so the TypeScript engine cannot end such a connection; they hold no
   * memory there, and cost the sender more than the reader.
   */
  readonly nativeOnly?: true;
}

const connectBlock = (authority: string) =>
  Buffer.concat([literal(":method", "CONNECT"), literal(":authority", authority)]);

const attacks: readonly Attack[] = [
  {
    title: "streams that are reset as soon as they are opened",
    needsStream: false,
    most: 100_000,
    frames: (turn, authority) =>
      Buffer.concat([
        frame(frameType.headers, flag.endHeaders, 2 * turn + 1, connectBlock(authority)),
        frame(frameType.rstStream, 0, 2 * turn + 1, uint32(constants.NGHTTP2_CANCEL)),
      ]),
  },
  {
    title: "PINGs whose answers nobody reads",
    needsStream: false,
    most: 400_000,
    frames: () => frame(frameType.ping, 0, 0, Buffer.alloc(8)),
  },
  {
    title: "SETTINGS",
    needsStream: false,
    most: 400_000,
    frames: () => frame(frameType.settings, 0, 0),
  },
  {
    title: "empty DATA",
    needsStream: true,
    frames: () => frame(frameType.data, 0, 1),
  },
  {
    title: "WINDOW_UPDATEs of one byte",
    nativeOnly: true,
    needsStream: true,
    frames: () => frame(frameType.windowUpdate, 0, 1, uint32(1)),
  },
  {
    title: "CONTINUATION without an end",
    needsStream: false,
    most: 50_000,
    frames: (turn, authority) =>
      turn === 0
        ? frame(frameType.headers, 0, 1, connectBlock(authority))
        : frame(continuation, 0, 1, literal("x-filler", "a".repeat(100))),
  },
  {
    title: "PRIORITY frames",
    needsStream: false,
    frames: () => frame(2, 0, 1, Buffer.from([0, 0, 0, 0, 16])),
  },
];

/** Sends as fast as the other side reads, until it closes or has enough to close for. A peer that does not read makes no difference to it. */
async function flood(socket: TLSSocket, attack: Attack, authority: string): Promise<void> {
  const { most = Number.POSITIVE_INFINITY } = attack;
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const drained = () => new Promise((resolve) => socket.once("drain", resolve));
  let turn = 0;
  while (!socket.destroyed && turn < most) {
    const parts: Buffer[] = [];
    for (let i = 0; i < 200; i += 1, turn += 1) parts.push(attack.frames(turn, authority));
    if (!socket.write(Buffer.concat(parts))) await Promise.race([drained(), closed]);
  }
}

describe.each(engines)("against the $name engine, a flood of", (kind: EngineKind) => {
  async function start() {
    const app = await startApp(echo);
    const node = new NodeUnderTest(kind);
    const pod = await node.addPod(node.addCredential(await pki.credential(server)), server);
    node.decideConnect = (event) => deliverTo(pod, app, event);
    const authority = `${pod.address}:80`;
    const good = await rawClient(pod.hbone, goodPapers);
    const { stream } = await rawConnect(good.session, authority);
    const pingPong = async (): Promise<string> => {
      stream.write("ping");
      const [chunk] = (await once(stream, "data")) as [Buffer];
      return chunk.toString();
    };
    expect(await pingPong()).toBe("ping");
    return { app, node, pod, authority, pingPong };
  }

  const seen = attacks.filter(({ nativeOnly }) => kind.name === "native" || nativeOnly !== true);
  it.each(seen)("$title ends its own connection and no other", async (attack) => {
    const { node, pod, authority, pingPong } = await start();
    const before = node.engine.stats();
    const socket = await rawTls(pod.hbone, badPapers);
    const frames = new RawFrames(socket);
    await frames.first(frameType.settings);
    if (attack.needsStream) {
      frames.sendHeaders(1, [
        [":method", "CONNECT"],
        [":authority", authority],
      ]);
      await frames.first(frameType.headers, 1);
    }
    const down = node.tunnelDown();
    const over = closeCode(socket);
    let mostMemory = 0;
    const watch = setInterval(() => {
      mostMemory = Math.max(mostMemory, node.engine.stats().memoryBytes - before.memoryBytes);
    }, 20);
    const flooding = flood(socket, attack, authority);
    // Served beside the flood, not after it.
    for (let i = 0; i < 20; i += 1) expect(await pingPong()).toBe("ping");
    await flooding;
    // All of it may stand in the kernel's buffers while the other side has no processor to read it with.
    await over;
    clearInterval(watch);
    expect(await down).toMatchObject({ direction: "inbound", peer: identity("bad") });
    expect((await down).reason).not.toBe("ok");
    expect(mostMemory).toBeLessThan(8 * MiB);
    expect(await pingPong()).toBe("ping");
    await expect
      .poll(() => node.engine.stats(), { interval: 10, timeout: 30_000 })
      .toMatchObject({ flowsOpen: before.flowsOpen, tunnelsOpen: before.tunnelsOpen });
    // The native engine counts what it allocated. The other one can only tell what Node's buffers hold in the whole process, these
    // tests' own included.
    const left = kind.name === "native" ? 64 * 1024 : MiB;
    await expect
      .poll(() => node.engine.stats().memoryBytes - before.memoryBytes, { interval: 10, timeout: 30_000 })
      .toBeLessThan(left);
    expect(node.tunnelsDown).toHaveLength(1);
  });

  it("header fields beyond the limit refuses that stream or ends that connection, and stores none of it", async () => {
    const { node, pod, authority, pingPong } = await start();
    const before = node.engine.stats().memoryBytes;
    const frames = new RawFrames(await rawTls(pod.hbone, badPapers));
    await frames.first(frameType.settings);
    const filler = Array.from({ length: 1_500 }, () => literal("x-filler", "a".repeat(100)));
    const block = Buffer.concat([connectBlock(authority), ...filler]);
    for (let at = 0; at < block.length; at += 16_000) {
      const part = block.subarray(at, at + 16_000);
      const flags = at + part.length === block.length ? flag.endHeaders : 0;
      frames.send(at === 0 ? frameType.headers : continuation, flags, 1, part);
    }
    const refusals = (): Frame[] => [...frames.of(frameType.rstStream, 1), ...frames.of(frameType.goaway)];
    const answered = (): Frame[] => [...refusals(), ...frames.of(frameType.headers, 1)];
    await expect.poll(() => answered().length + node.tunnelsDown.length, { interval: 5 }).toBeGreaterThan(0);
    // No CONNECT of it ever reached a decision.
    expect(node.connects).toHaveLength(1);
    expect(node.engine.stats().memoryBytes - before).toBeLessThan(MiB);
    expect(await pingPong()).toBe("ping");
  });

  it("resets of connections that were really in use is none: a busy tunnel stays up", async () => {
    const { node, pod, authority } = await start();
    const frames = new RawFrames(await rawTls(pod.hbone, badPapers));
    await frames.first(frameType.settings);
    // More than nghttp2's own allowance of a thousand (and 33 a second), each of them answered before it is reset.
    const streams = 1_500;
    for (let from = 0; from < streams; from += 100) {
      const ids = Array.from({ length: 100 }, (_, i) => 2 * (from + i) + 1);
      for (const id of ids) {
        frames.sendHeaders(id, [
          [":method", "CONNECT"],
          [":authority", authority],
        ]);
      }
      for (const id of ids) await frames.first(frameType.headers, id);
      for (const id of ids) frames.send(frameType.rstStream, 0, id, uint32(constants.NGHTTP2_CONNECT_ERROR));
      frames.frames.length = 0;
      await node.closing(from + 100);
    }
    expect(node.tunnelsDown).toEqual([]);
    expect(node.closed.every(({ reason }) => reason === "reset-by-source")).toBe(true);
  });
});
