import { describe, expect, it } from "vitest";
import { loadCaptureAddon } from "../../../src/capture/addon.ts";
import { nftablesMissing } from "../../../src/capture/nftables/nftables-backend.ts";
import {
  type RulesetInput,
  removal,
  ruleset,
  signOfLife,
  tableName,
  uidOfListing,
} from "../../../src/capture/nftables/ruleset.ts";

const base: RulesetInput = {
  owner: "0123456789ab",
  uid: "pod-1",
  listeners: ([4, 6] as const).flatMap((family) => [
    { role: "outbound", family, port: 15001 } as const,
    { role: "inbound", family, port: 15006 } as const,
    { role: "hbone", family, port: 15008 } as const,
  ]),
  hbonePort: 15008,
  marks: { leave: 0x539, deliver: 0x111 },
  probes: { sources: ["10.0.0.1", "fd00::1"], ports: [8080, 8081] },
  failOpenAfter: undefined,
};

function rulesOf(change: Partial<RulesetInput>): readonly string[] {
  return ruleset({ ...base, ...change })
    .split("\n")
    .map((line) => line.trim());
}

describe("the ruleset of a pod", () => {
  it("redirects each family to its listeners, wherever those are bound", () => {
    const listeners = base.listeners.map((listener) =>
      listener.family === 6 ? { ...listener, port: listener.port + 20_000 } : listener,
    );
    const rules = rulesOf({ listeners });
    expect(rules).toContain("meta nfproto ipv4 meta l4proto tcp redirect to :15001");
    expect(rules).toContain("meta nfproto ipv6 meta l4proto tcp redirect to :35001");
    expect(rules).toContain("meta nfproto ipv6 meta l4proto tcp redirect to :35006");
    expect(rules).toContain("meta nfproto ipv4 tcp dport 15008 return");
    expect(rules).toContain("meta nfproto ipv6 tcp dport 15008 redirect to :35008");
  });

  it("sends a family without listeners where nobody listens, rather than letting it pass", () => {
    const rules = rulesOf({ listeners: base.listeners.filter(({ family }) => family === 4) });
    expect(rules.filter((rule) => rule === "meta nfproto ipv6 meta l4proto tcp redirect to :1")).toHaveLength(2);
  });

  it("exempts the node's addresses only towards probed ports", () => {
    expect(rulesOf({})).toContain("ip saddr { 10.0.0.1 } tcp dport { 8080, 8081 } return");
    expect(rulesOf({})).toContain("ip6 saddr { fd00::1 } tcp dport { 8080, 8081 } return");
    const none = rulesOf({ probes: { sources: ["10.0.0.1"], ports: [] } });
    expect(none.filter((rule) => rule.includes("saddr"))).toEqual([]);
  });

  it("asks for a sign of life only when the pod fails open", () => {
    expect(rulesOf({}).some((rule) => rule.includes("@alive"))).toBe(false);
    const redirects = rulesOf({ failOpenAfter: 3 }).filter((rule) => rule.includes("redirect to :150"));
    expect(redirects.filter((rule) => !rule.includes("@alive"))).toEqual([]);
    expect(redirects).toHaveLength(4);
  });

  it("is understood by nftables, in every form", async () => {
    const addon = loadCaptureAddon();
    expect(await nftablesMissing(addon)).toBeUndefined();
    await addon.nftTry(`${ruleset({ ...base, failOpenAfter: 3 })}\n${removal}\n${ruleset(base)}\n${removal}`);
    const listing = await addon.nftTry(
      `${ruleset({ ...base, failOpenAfter: 3 })}\n${signOfLife(3)}\nlist table ${tableName}`,
    );
    expect(uidOfListing(listing, base.owner)).toBe("pod-1");
    expect(uidOfListing(listing, "another")).toBeUndefined();
    expect(uidOfListing("table inet warren { }", base.owner)).toBeUndefined();
  });

  it("names what nftables refuses", async () => {
    await expect(loadCaptureAddon().nftTry("add rule inet nowhere input accept")).rejects.toMatchObject({
      code: "MESH_NFT_FAILED",
      message: expect.stringContaining("No such file or directory"),
    });
  });
});
