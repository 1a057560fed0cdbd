import { describe, expect, test } from "vitest";
import { decidePlaintext } from "../../src/tunnel/inbound-passthrough.ts";
import { authorizationPolicy, mesh, peerAuthentication } from "../mesh/build.ts";
import { api, api1, outside, show, socket, web } from "./verdicts.ts";

describe("decidePlaintext", () => {
  const depends = "on source-address+destination";
  test.each([
    ["PERMISSIVE", "10.0.1.1:80", `deliver 10.0.1.1:80 as 10.0.0.9 ${depends}`],
    ["DISABLE", "10.0.1.1:80", `deliver 10.0.1.1:80 as 10.0.0.9 ${depends}`],
    ["STRICT", "10.0.1.1:80", `refuse strict-plaintext by shop/default ${depends}`],
    ["PERMISSIVE", "10.0.1.1:15006", `refuse illegal-port ${depends}`],
  ] as const)("plaintext under %s to %s: %s", (mode, destination, expected) => {
    const view = mesh({ workloads: [outside, api], peerAuthentications: [peerAuthentication({ mode })] });
    const arrival = { source: socket("10.0.0.9:40000"), destination: socket(destination) };
    expect(show(decidePlaintext(view, api1, arrival, "refused"))).toBe(expected);
  });

  test("the client's pod is told in the label, but it is not an identity for policy", () => {
    const view = mesh({
      workloads: [web, api],
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [{ from: [{ principals: ["cluster.local/ns/shop/sa/web"] }] }]),
      ],
    });
    const verdict = decidePlaintext(
      view,
      api1,
      { source: socket("10.0.0.1:1"), destination: socket("10.0.1.1:80") },
      "refused",
    );
    expect(verdict).toMatchObject({ kind: "refuse", reason: "policy-denied", policy: "shop/allow", source: web });
  });

  test("a pod that the mesh does not know is held", () => {
    const arrival = { source: socket("10.0.0.1:1"), destination: socket("10.0.1.1:80") };
    expect(decidePlaintext(mesh({}), api1, arrival, "refused")).toEqual({ kind: "hold" });
  });
});
