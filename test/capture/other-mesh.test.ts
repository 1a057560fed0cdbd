import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Harness } from "./support/harness.ts";

describe("a pod with rules of another mesh in its netns", () => {
  let node: Harness;
  beforeAll(async () => {
    node = await Harness.start("nftables");
  });
  afterAll(() => node?.stop());

  it.each(["ISTIO_OUTPUT", "PROXY_INIT_REDIRECT"])(
    "is refused for its chain %s, left as it is, and taken when that is gone",
    async (chain) => {
      const pod = await node.machine.addPod(chain.toLowerCase().replaceAll("_", "-"));
      await node.machine.nft(
        pod.netns,
        `add table ip nat; add chain ip nat ${chain}; add rule ip nat ${chain} tcp dport 1 redirect to :15001\n`,
      );
      const before = await node.machine.nft(pod.netns, "list ruleset");
      await expect(node.agent.enrol(pod)).rejects.toMatchObject({
        code: "MESH_OTHER_MESH",
        message: expect.stringContaining(chain),
      });
      expect(await node.machine.nft(pod.netns, "list ruleset")).toBe(before);
      await node.machine.nft(pod.netns, "delete table ip nat");
      expect(await node.agent.enrol(pod)).toMatchObject({ backend: "nftables" });
    },
  );
});
