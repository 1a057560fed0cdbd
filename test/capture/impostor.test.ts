import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { backends, families, Harness, soon } from "./support/harness.ts";
import type { Pod } from "./support/machine.ts";
import { Relay } from "./support/relay.ts";

describe.each(backends)("a pod with NET_ADMIN (capture by %s)", (backend) => {
  let node: Harness;
  let impostor: Pod;
  let victim: Pod;
  let server: Pod;
  let taken: Relay;

  beforeAll(async () => {
    node = await Harness.start(backend);
    server = await node.machine.addPod("server");
    victim = await node.enrolled("victim");
    impostor = await node.machine.addPod("impostor");
    taken = new Relay(node.capture.sockets);
    const { uid, netnsPath, addresses } = impostor;
    taken.add(await node.capture.enrol({ uid, netnsPath, addresses, failOpen: false }, soon()));
    for (const { any } of families) {
      await node.machine.start(server, "serve", any, "80");
    }
  });
  afterAll(async () => {
    await taken?.stop();
    await node?.stop();
  });
  beforeEach(() => {
    node.relay.flows.splice(0);
    taken.flows.splice(0);
  });

  it.each(families)(
    "is known by its netns even when it takes another pod's IPv$family address",
    async ({ of, family }) => {
      await node.machine.ip(impostor.netns, [`address add ${of(victim)}/${family === 4 ? 32 : 128} dev lo`]);
      const answer = await node.machine.run(impostor, "connect", of(server), "80", `--bind=${of(victim)}`);
      // The agent opens its own connection in the impostor's netns, from the impostor's own address.
      expect(answer).toMatchObject({ ok: true });
      expect(answer.greeting).toContain(of(impostor));
      expect(taken.flows).toMatchObject([{ role: "outbound", destination: { address: of(server), port: 80 } }]);
      expect(node.relay.flows).toEqual([]);
      await node.machine.ip(impostor.netns, [`address delete ${of(victim)}/${family === 4 ? 32 : 128} dev lo`]);
    },
  );

  it("cannot be given another pod's address by mistake either: enrolment checks what the netns holds", async () => {
    const request = { uid: "other", netnsPath: impostor.netnsPath, addresses: victim.addresses, failOpen: false };
    await expect(node.capture.enrol(request, soon())).rejects.toMatchObject({ code: "MESH_WRONG_NETNS" });
  });

  if (backend === "nftables") {
    // Marks and rules in its netns are a NET_ADMIN pod's to change: see docs/capture.md.
    return;
  }

  it.each(["0x111", "0x539"])("gets past nothing with the agent's mark %s", async (mark) => {
    for (const { of } of families) {
      await node.machine.run(impostor, "connect", of(server), "80", `--mark=${mark}`);
    }
    expect(taken.flows.map(({ role }) => role)).toEqual(["outbound", "outbound"]);
  });

  it("is captured also after it flushed its rules and routing policy", async () => {
    await node.machine.nft(impostor.netns, "flush ruleset");
    await node.machine.ip(impostor.netns, ["rule delete priority 1501", "route flush table 15006"]);
    await node.machine.run(impostor, "connect", server.ip4, "80");
    expect(taken.flows.map(({ role }) => role)).toEqual(["outbound"]);
    // Its own deliveries are broken, which the probe tells.
    const patience = new AbortController();
    const disproved = expect(node.capture.probe(impostor.uid, patience.signal)).rejects.toMatchObject({
      code: "MESH_PROBE_FAILED",
    });
    await expect.poll(() => node.machine.output(impostor, "ss", "-Htn", "state", "syn-sent")).not.toBe("");
    patience.abort();
    await disproved;
  });
});
