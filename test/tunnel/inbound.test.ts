import { describe, expect, test } from "vitest";
import { decideConnect } from "../../src/tunnel/inbound.ts";
import { authorizationPolicy, identity, mesh, peerAuthentication } from "../mesh/build.ts";
import { api, api1, show, socket, web } from "./verdicts.ts";

describe("decideConnect", () => {
  const modes = {
    strict: [peerAuthentication({ mode: "STRICT" })],
    disable: [peerAuthentication({ mode: "DISABLE" })],
    port: [
      peerAuthentication({
        name: "api",
        matchLabels: new Map([["app", "api"]]),
        portModes: new Map([[9090, "DISABLE"]]),
      }),
    ],
  } as const;
  const depends = "on source-address+peer-identity+authority";

  test.each([
    [
      "is delivered with the client's own address",
      "strict",
      "10.0.0.1",
      "10.0.1.1:8080",
      `deliver 10.0.1.1:8080 as 10.0.0.1 ${depends}`,
    ],
    [
      "may name any own address",
      "strict",
      "fd00::1",
      "[fd00:1:0::1]:8080",
      `deliver fd00:1::1:8080 as fd00::1 ${depends}`,
    ],
    ["to another pod's address is refused", "strict", "10.0.0.1", "10.0.0.1:8080", `refuse not-this-pod ${depends}`],
    ["to a hostname is refused", "strict", "10.0.0.1", "api.shop.svc:80", `refuse not-this-pod ${depends}`],
    ["without a port is refused", "strict", "10.0.0.1", "10.0.1.1", `refuse bad-authority ${depends}`],
    ["to port 0 is refused", "strict", "10.0.0.1", "10.0.1.1:0", `refuse bad-authority ${depends}`],
    ["to a mesh port is refused", "strict", "10.0.0.1", "10.0.1.1:15008", `refuse illegal-port ${depends}`],
    [
      "is refused under DISABLE",
      "disable",
      "10.0.0.1",
      "10.0.1.1:80",
      `refuse tunnel-disabled by shop/default ${depends}`,
    ],
    [
      "is refused on a DISABLE port",
      "port",
      "10.0.0.1",
      "10.0.1.1:9090",
      `refuse tunnel-disabled by shop/api ${depends}`,
    ],
    [
      "is let in on the ports beside it",
      "port",
      "10.0.0.1",
      "10.0.1.1:9091",
      `deliver 10.0.1.1:9091 as 10.0.0.1 ${depends}`,
    ],
  ] as const)("a CONNECT %s", (_name, mode, source, authority, expected) => {
    const view = mesh({ workloads: [web, api], peerAuthentications: modes[mode] });
    const request = { peer: web.identity, source: { address: source, port: 40000 }, authority };
    expect(show(decideConnect(view, api1, request, "refused"))).toBe(expected);
  });

  test("a denied identity is refused whatever its certificate says", () => {
    const view = mesh({ workloads: [web, api] }, { deniedIdentities: [web.identity] });
    const request = { source: socket("10.0.0.1:1"), authority: "10.0.1.1:80" };
    expect(decideConnect(view, api1, { ...request, peer: web.identity }, "refused")).toMatchObject({
      reason: "certificate-revoked",
    });
    expect(decideConnect(view, api1, { ...request, peer: api.identity }, "refused")).toMatchObject({ kind: "dial" });
  });

  test("policy asks the proven identity, not the owner of the address", () => {
    const view = mesh({
      workloads: [web, api],
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [{ from: [{ principals: ["cluster.local/ns/shop/sa/web"] }] }]),
      ],
    });
    const from = (peer: typeof web.identity) =>
      decideConnect(view, api1, { peer, source: socket("10.0.0.1:1"), authority: "10.0.1.1:80" }, "refused");
    expect(from(web.identity)).toMatchObject({ kind: "dial", source: web });
    expect(from(identity("shop", "thief"))).toMatchObject({
      kind: "refuse",
      reason: "policy-denied",
      source: undefined,
    });
  });
});
