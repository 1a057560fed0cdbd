import { describe, expect, test } from "vitest";
import { decideConnect } from "../../src/tunnel/inbound.ts";
import { decidePlaintext } from "../../src/tunnel/inbound-passthrough.ts";
import { authorizationPolicy, identity, mesh, peerAuthentication } from "../mesh/build.ts";
import { api, api1, show, socket, web } from "./verdicts.ts";

describe("a port with HTTP rules", () => {
  const frontendGets = authorizationPolicy("ALLOW", [
    { from: [{ principals: ["cluster.local/ns/shop/sa/web"] }], to: [{ ports: ["80"], methods: ["GET"] }] },
    { from: [{ namespaces: ["ops"] }] },
  ]);
  const view = mesh({ workloads: [web, api], authorizationPolicies: [frontendGets] });
  const connect = (peer: typeof web.identity, port: number, http: "enforced" | "refused") =>
    show(decideConnect(view, api1, { peer, source: socket("10.0.0.1:1"), authority: `10.0.1.1:${port}` }, http));

  test.each([
    ["has what a request may decide handed over", web.identity, 80, "hand over policy-denied by shop/allow on chance"],
    [
      "has refused identities handed over: they are owed an answer",
      identity("shop", "thief"),
      80,
      "hand over policy-denied by shop/allow on chance",
    ],
    [
      "lets go the native way who may send anything",
      identity("ops", "probe"),
      80,
      "deliver 10.0.1.1:80 as 10.0.0.1 by shop/allow on source-address+peer-identity+authority",
    ],
  ] as const)("%s", (_name, peer, port, expected) => {
    expect(connect(peer, port, "enforced")).toBe(expected);
  });

  test("leaves other ports as they were", () => {
    expect(connect(web.identity, 81, "enforced")).toContain("refuse policy-denied by shop/allow");
  });

  test("is closed where nobody reads requests", () => {
    expect(connect(web.identity, 80, "refused")).toContain("refuse policy-unevaluable by shop/allow");
    expect(connect(identity("shop", "thief"), 80, "refused")).toContain("refuse policy-denied by shop/allow");
  });

  test("still closes plaintext under STRICT", () => {
    const strict = mesh({
      workloads: [web, api],
      authorizationPolicies: [frontendGets],
      peerAuthentications: [peerAuthentication({ mode: "STRICT" })],
    });
    const arrival = { source: socket("10.0.0.1:1"), destination: socket("10.0.1.1:80") };
    expect(show(decidePlaintext(strict, api1, arrival, "enforced"))).toContain("refuse strict-plaintext");
    expect(show(decidePlaintext(view, api1, arrival, "enforced"))).toContain("hand over policy-denied");
  });
});
