import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { backends, families, Harness } from "./support/harness.ts";
import type { Pod } from "./support/machine.ts";

/** Raw sockets may claim any protocol and still write TCP into the header. */
const claims = [
  { claim: "IPPROTO_RAW", protocol: 255 },
  { claim: "IPPROTO_TCP", protocol: 6 },
  { claim: "IPPROTO_UDP", protocol: 17 },
];

describe.each(backends)("a raw socket's SYN (capture by %s)", (backend) => {
  let node: Harness;
  let pod: Pod;
  let stranger: Pod;
  let target: Pod;

  beforeAll(async () => {
    node = await Harness.start(backend);
    pod = await node.enrolled("pod");
    stranger = await node.machine.addPod("stranger");
    target = await node.machine.addPod("target");
    await node.machine.nft(
      target.netns,
      `table inet count {
        set seen { typeof meta nfproto . tcp dport; flags dynamic; }
        chain input {
          type filter hook input priority 0; policy accept;
          tcp dport 4000-6000 add @seen { meta nfproto . tcp dport }
        }
      }`,
    );
  });
  afterAll(() => node?.stop());

  async function portsSeen(): Promise<string> {
    return node.machine.output(target, "nft", "list", "set", "inet", "count", "seen");
  }

  const cases = families.flatMap((family) => claims.map((claim) => ({ ...family, ...claim })));

  it.each(cases)("of IPv$family claiming $claim does not leave an enrolled pod", async ({ family, of, protocol }) => {
    const send = (from: Pod, port: number) =>
      node.machine.run(from, "raw-syn", of(from), of(target), `${port}`, `--protocol=${protocol}`);
    const port = 4000 + family * 100 + protocol;
    await send(pod, port);
    // The control: what is sent later from outside the mesh does arrive.
    expect(await send(stranger, port + 300)).toMatchObject({ ok: true });
    await expect.poll(portsSeen).toContain(`. ${port + 300}`);
    expect(await portsSeen()).not.toMatch(new RegExp(`\\. ${port}\\b`));
  });

  if (backend === "nftables") {
    // Its rules see the packet and redirect it to the agent.
    return;
  }

  it("is counted", async () => {
    const before = node.capture.stats()["guard_dropped"] ?? 0;
    await node.machine.run(pod, "raw-syn", pod.ip4, target.ip4, "4999");
    expect(node.capture.stats()["guard_dropped"]).toBe(before + 1);
  });
});
