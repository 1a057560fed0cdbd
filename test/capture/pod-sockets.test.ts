import { openSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadCaptureAddon } from "../../src/capture/addon.ts";
import { socketMarks } from "../../src/capture/delivery-routing.ts";
import { PodSocketsReader } from "../../src/capture/pod-sockets.ts";
import { backends, families, Harness } from "./support/harness.ts";
import type { Pod } from "./support/machine.ts";

const marks = new Set(Object.values(socketMarks));

describe.each(backends)("a pod's sockets, captured by %s", (backend) => {
  let node: Harness;
  let peer: Pod;
  const reader = new PodSocketsReader({ addon: loadCaptureAddon() }, { marks });

  beforeAll(async () => {
    node = await Harness.start(backend);
    peer = await node.machine.addPod("peer");
    for (const { any } of families) await node.machine.start(peer, "serve", any, "80", "--name=peer");
  });
  afterAll(() => node?.stop());

  it.each(families)(
    "list IPv$family connections from before capture in both directions, and none that the agent carries",
    async ({ any, of, family, loopback }) => {
      node.relay.flows.splice(0);
      const pod = await node.machine.addPod(`pod${family}`);
      await node.machine.start(pod, "serve", any, "81", "--name=own");
      const out = await node.machine.start(pod, "hold", of(peer), "80");
      const into = await node.machine.start(peer, "hold", of(pod), "81");
      await node.agent.enrol(pod);
      // What the agent carries, and what no mesh has to do with.
      await node.machine.start(pod, "hold", of(peer), "80");
      await node.machine.start(peer, "hold", of(pod), "81");
      await node.machine.start(pod, "hold", loopback, "81");
      expect(node.relay.flows).toHaveLength(2);

      const netns = openSync(pod.netnsPath, "r");
      const { uncarried, listening } = await reader.list(netns);
      expect(listening).toEqual([{ protocol: "tcp", port: 81 }]);
      expect(uncarried).toHaveLength(2);
      expect(uncarried.find(({ direction }) => direction === "outbound")).toMatchObject({
        local: { address: of(pod) },
        remote: { address: of(peer), port: 80 },
      });
      expect(uncarried.find(({ direction }) => direction === "inbound")).toMatchObject({
        local: { address: of(pod), port: 81 },
        remote: { address: of(peer) },
      });

      // Cut, both ends learn of it, and nothing else is touched.
      expect(await reader.cut(netns)).toBe(2);
      for (const held of [out, into]) expect(await held.ask("still here?")).toMatchObject({ ok: false });
      expect((await reader.list(netns)).uncarried).toEqual([]);
      expect(await reader.cut(netns)).toBe(0);
      const again = await node.machine.run(pod, "connect", of(peer), "80");
      expect(again).toMatchObject({ ok: true, echo: "ping" });
    },
  );
});
