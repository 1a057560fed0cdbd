import { afterEach, expect, it } from "vitest";
import { Agent, Harness, soon } from "./support/harness.ts";

let node: Harness;
afterEach(() => node?.stop());

it.each([
  { before: "ebpf", after: "nftables" },
  { before: "nftables", after: "ebpf" },
] as const)("a pod captured by $before is captured by $after when the next agent is told so", async (change) => {
  node = await Harness.start(change.before);
  const pod = await node.enrolled("pod");
  const peer = await node.machine.addPod("peer");
  await node.machine.start(peer, "serve", "0.0.0.0", "80");
  await node.machine.start(pod, "serve", "0.0.0.0", "80");
  await node.agent.crash();
  node.agent = await Agent.start(node.machine, change.after);
  const captured = await node.agent.enrol(pod);
  expect(captured.backend).toBe(change.after);
  // A link whose last pin was removed is detached a moment later; until then the former program refuses. The probe tells.
  const probed = () =>
    node.capture.probe(pod.uid, soon()).then(
      () => "carried",
      (error: unknown) => String(error),
    );
  await expect.poll(probed).toBe("carried");
  node.relay.flows.splice(0);
  expect(await node.machine.run(pod, "connect", peer.ip4, "80")).toMatchObject({ ok: true });
  expect(await node.machine.run(peer, "connect", pod.ip4, "80")).toMatchObject({ ok: true });
  expect(node.relay.flows).toEqual([
    { role: "outbound", source: pod.ip4, destination: { address: peer.ip4, port: 80 } },
    { role: "inbound", source: peer.ip4, destination: { address: pod.ip4, port: 80 } },
  ]);
  expect(await node.capture.collectGarbage(new Set([pod.uid]))).toEqual([]);
  await node.capture.release(pod.uid);
  expect(await node.machine.output(pod, "nft", "list", "ruleset")).toBe("");
});

it("chooses the backend per pod where both are at hand", async () => {
  node = await Harness.start("ebpf");
  await node.agent.crash();
  node.agent = await Agent.start(node.machine, "auto");
  const first = await node.machine.addPod("first");
  const second = await node.machine.addPod("second");
  expect(await node.agent.enrol(first)).toMatchObject({ backend: "ebpf" });
  expect(await node.agent.enrol(second, { backend: "nftables" })).toMatchObject({ backend: "nftables" });
  await node.machine.start(second, "serve", "0.0.0.0", "80");
  expect(await node.machine.run(first, "connect", second.ip4, "80")).toMatchObject({ ok: true });
  expect(node.relay.flows.map(({ role }) => role)).toEqual(["outbound", "inbound"]);
  for (const pod of [first, second]) {
    await node.capture.probe(pod.uid, AbortSignal.timeout(30_000));
  }
  // And back: the rules go before the programs come.
  expect(await node.agent.enrol(second, { backend: "ebpf" })).toMatchObject({ backend: "ebpf" });
  expect(await node.machine.run(first, "connect", second.ip4, "80")).toMatchObject({ ok: true });
  expect(await node.machine.output(second, "nft", "list", "ruleset")).toBe("");
});
