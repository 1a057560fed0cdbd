/** What an engine does when its process may have no more descriptors, and how many it needs. */
import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { dialApp, echo, startApp } from "./support/apps.ts";
import { Child } from "./support/child.ts";
import { type EngineKind, engines } from "./support/engines.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { plainDial, plainPing } from "./support/plain-node.ts";

const attempts = 60;
/** Room for a few flows of two sockets each. */
const room = 25;

describe.each(engines)("the $name engine without descriptors", (kind: EngineKind) => {
  it("sheds what it cannot take, does not spin, and recovers", async () => {
    const app = await startApp(echo);
    const pki = await MeshPki.create();
    const { child } = await Child.start(kind.name);
    const credential = await pki.credential(identity("server"));
    const { outbound } = await child.startEngine(credential, { kind: "dial", app });
    const first = await dialApp(outbound);
    expect(await plainPing(first)).toBe(true);
    const calm = await child.report();
    await child.limitDescriptors(room);

    const sockets = await Promise.all(Array.from({ length: attempts }, () => dialApp(outbound)));
    const answers = sockets.map(async (socket) => ({ socket, served: await plainPing(socket) }));
    // Nobody is served half: the others are reset, or wait in the listener's queue while it pauses.
    await expect
      .poll(
        async () => {
          const { stats, ended } = await child.report();
          return stats.shedTotal + stats.acceptPausesTotal + (ended["out-of-descriptors"] ?? 0);
        },
        { interval: 20 },
      )
      .toBeGreaterThan(0);
    const exhausted = await child.report();
    expect(exhausted.stats.flowsOpen).toBeLessThanOrEqual(1 + room);
    // The flow that was open before does not suffer.
    expect(await plainPing(first)).toBe(true);

    // CPU time over a fixed while, with connections still waiting: pausing costs a few per cent of one core, spinning a whole one, and that
    // in every such while. The first ones may still have something to do on a machine that is late.
    const share = async () => {
      const before = await child.report();
      const since = performance.now();
      await wait(1_000);
      return ((await child.report()).cpuMs - before.cpuMs) / (performance.now() - since);
    };
    await expect.poll(share).toBeLessThan(0.3);

    // libuv closes what it cannot accept by means of a spare descriptor and tells nobody, so of the TypeScript engine's only flows are known
    // that were accepted and then had no descriptor for their other side.
    const ended = async () => (await child.report()).ended["out-of-descriptors"] ?? 0;
    await expect.poll(ended).toBeGreaterThan(0);
    if (kind.name === "native") {
      await expect.poll(async () => (await child.report()).stats.acceptPausesTotal).toBeGreaterThan(0);
    }

    // Everybody goes; new ones are served as before.
    for (const socket of sockets) socket.destroy();
    await Promise.all(answers);
    const onlyFirst = () => expect.poll(async () => (await child.report()).stats.flowsOpen, { interval: 20 }).toBe(1);
    await onlyFirst();
    // Some of them are still in the listener's queue, and take descriptors when their turn comes: who is served came after all of those.
    await expect
      .poll(async () => {
        const socket = await plainDial(outbound);
        const served = await plainPing(socket);
        socket.destroy();
        return served;
      })
      .toBe(true);
    await onlyFirst();
    for (let i = 0; i < 5; i += 1) {
      const socket = await plainDial(outbound);
      expect(await plainPing(socket)).toBe(true);
      socket.destroy();
    }
    first.destroy();
    await expect
      .poll(async () => (await child.report()).descriptors, { interval: 20, timeout: 30_000 })
      .toBeLessThanOrEqual(calm.descriptors);
    expect((await child.report()).stats).toMatchObject({ flowsOpen: 0, bufferedBytes: 0 });
  });

  it("keeps the last of them for a pod that has few", async () => {
    const app = await startApp(echo);
    const pki = await MeshPki.create();
    const { child } = await Child.start(kind.name);
    const credential = await pki.credential(identity("server"));
    const descriptors = 400;
    const { outbound, neighbour } = await child.startEngine(
      credential,
      { kind: "dial", app },
      { limits: { descriptors } },
    );
    // Each would take two of them.
    const crowd = await Promise.all(Array.from({ length: 2 * descriptors }, () => dialApp(outbound)));
    const served = await Promise.all(crowd.map((socket) => plainPing(socket)));
    const open = served.filter(Boolean).length;
    expect(open).toBeGreaterThan(0);
    // A reset may be here before its record.
    await expect.poll(async () => (await child.report()).ended).toEqual({ "out-of-descriptors": crowd.length - open });
    expect((await child.report()).descriptors).toBeLessThan(descriptors);
    const quiet: Socket[] = [];
    for (let i = 0; i < 10; i += 1) {
      const socket = await plainDial(neighbour);
      expect(await plainPing(socket)).toBe(true);
      quiet.push(socket);
    }
    for (const socket of [...crowd, ...quiet]) socket.destroy();
    await expect.poll(async () => (await child.report()).stats.flowsOpen).toBe(0);
    expect((await child.report()).stats.acceptPausesTotal).toBe(0);
    const again = await plainDial(outbound);
    expect(await plainPing(again)).toBe(true);
    again.destroy();
  });
});
