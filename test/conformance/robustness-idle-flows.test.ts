/**
 * 10 000 idle flows over HBONE, held and given back: memory as the engines count it, the process's own anonymous memory, flows and
 * descriptors all return to what they were.
 * Callers, each engine and the application are processes of their own, so that none needs more than 20 000 descriptors.
 */
import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { Child, echoChild, type Report } from "./support/child.ts";
import { enginePairs } from "./support/engines.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { plainDial, plainPing } from "./support/plain-node.ts";

const flows = 10_000;
/** The engine's own, TLS and HTTP/2 of the tunnels included as far as it counts them; socket buffers are the kernel's. */
const mostPerFlow = 1536;
/** Of what the process had before. */
const mostKept = 1.05;
/** Before the count begins, so that code is compiled and tables and heaps have grown to their use: what is made once is no growth. */
const firstFlows = 400;
const atOnce = 200;
/** Four processes of two cores' machine take turns: what a busy one does late is no failure. */
const patience = {
  decision: 100_000,
  connect: 100_000,
  tls: 100_000,
  http2: 100_000,
  connectAnswer: 100_000,
  pingTimeout: 100_000,
};

describe.each(enginePairs)("from $name", (kinds) => {
  const ends = [kinds.client, kinds.server];
  /** Of what is one for the client and one for the server: the native engine's. */
  const native = <T>(each: readonly T[]): T[] => each.filter((_, end) => ends[end]?.name === "native");

  it("10 000 idle flows are held, and everything is given back", { timeout: 300_000 }, async () => {
    const pki = await MeshPki.create();
    const app = await echoChild();
    const options = {
      limits: { flows: 20_000, flowsPerPod: 20_000, tunnelsPerGroup: 128, inboundTunnelsPerPod: 256 },
      timeouts: { ...patience, tunnelIdle: 500 },
    };
    const [{ child: server }, { child: client }] = await Promise.all([
      Child.start(kinds.server.name),
      Child.start(kinds.client.name),
    ]);
    const callee = await pki.credential(identity("callee"));
    const { hbone } = await server.startEngine(callee, { kind: "dial", app }, options);
    const carry = { kind: "carry", peer: hbone, identity: callee.identity } as const;
    const { outbound } = await client.startEngine(await pki.credential(identity("caller")), carry, options);
    const reports = () => Promise.all([client.report(), server.report()]);
    const empty = async () => {
      const all = await reports();
      return all.reduce((sum, { stats }) => sum + stats.flowsOpen + stats.tunnelsOpen, 0);
    };

    const open = async (count: number): Promise<Socket[]> => {
      const sockets: Socket[] = [];
      while (sockets.length < count) {
        const some = await Promise.all(Array.from({ length: atOnce }, () => plainDial(outbound)));
        expect(await Promise.all(some.map((socket) => plainPing(socket)))).not.toContain(false);
        sockets.push(...some);
      }
      return sockets;
    };

    const fresh = await reports();
    for (const socket of await open(firstFlows)) socket.destroy();
    await expect.poll(empty, { interval: 20, timeout: 60_000 }).toBe(0);
    const before = await reports();
    const anonymous = () => Promise.all([client.anonymousMemory(), server.anonymousMemory()]);
    const anonymousBefore = await anonymous();

    const sockets = await open(flows);
    const held = await reports();
    expect(held.map(({ stats }) => stats.flowsOpen)).toEqual([flows, flows]);
    // Idle flows hold no bytes: their buffers are given back while they are open.
    await expect
      .poll(async () => (await reports()).map(({ stats }) => stats.bufferedBytes), { interval: 20 })
      .toEqual([0, 0]);
    const counted = (all: readonly Report[]) => native(all).map(({ stats }) => stats.memoryBytes);
    const idle = counted(await reports());
    counted(before).forEach((bytes, end) => {
      expect(((idle[end] ?? 0) - bytes) / flows).toBeLessThanOrEqual(mostPerFlow);
    });
    for (let i = 0; i < flows; i += 500) expect(await plainPing(sockets[i] as Socket, "still there?")).toBe(true);

    for (const socket of sockets) socket.destroy();
    await expect.poll(empty, { interval: 50, timeout: 60_000 }).toBe(0);
    await expect
      .poll(async () => (await reports()).map(({ descriptors }) => descriptors), { interval: 50, timeout: 60_000 })
      .toEqual(fresh.map(({ descriptors }) => descriptors));
    // The native engine counts each allocation of its own, so that it is the same to the byte; the other one reports all buffers of
    // its process, which the garbage collector gives back when it likes. An ended tunnel's memory goes at the end of its worker's turn.
    await expect.poll(async () => counted(await reports()), { interval: 50, timeout: 60_000 }).toEqual(counted(fresh));
    // The C library keeps what is freed until the engine has it given back, a moment after the last tunnel.
    await expect
      .poll(async () => native((await anonymous()).map((bytes, end) => bytes / (anonymousBefore[end] ?? 1))), {
        interval: 200,
        timeout: 60_000,
      })
      .toSatisfy((kept: number[]) => kept.every((share) => share <= mostKept));
    const after = await reports();
    for (const { stats, ended } of after) {
      expect(stats.bufferedBytes).toBe(0);
      expect(Object.values(ended).reduce((sum, count) => sum + count, 0)).toBe(firstFlows + flows);
    }
  });
});
