import { describe, expect, test } from "vitest";
import type { SocketAddress } from "../../src/model/address.ts";
import { decideConnect } from "../../src/tunnel/inbound.ts";
import { decidePlaintext } from "../../src/tunnel/inbound-passthrough.ts";
import { decideOutbound } from "../../src/tunnel/outbound.ts";
import type { Verdict } from "../../src/tunnel/verdict.ts";
import { authorizationPolicy, identity, localPod, mesh, peerAuthentication, service, workload } from "../mesh/build.ts";

const web = workload("web", "10.0.0.1");
const api = workload("api", "10.0.1.1", { addresses: ["10.0.1.1", "fd00:1::1"] });
const outside = workload("outside", "10.0.0.9", { tunnel: "none" });
const api1 = localPod(api);

function socket(text: string): SocketAddress {
  const colon = text.lastIndexOf(":");
  return { address: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
}

/** A verdict in one line. */
function show(verdict: Verdict): string {
  if (verdict.kind === "hold") return "hold";
  const about = [verdict.policy && `by ${verdict.policy}`, `on ${verdict.dependsOn?.join("+") ?? "chance"}`]
    .filter((part) => part !== "")
    .join(" ");
  switch (verdict.kind) {
    case "carry":
      return `carry ${verdict.targets.map((t) => `${t.peer.address}:${t.peer.port}/${t.authority}/${t.expected}`).join(" ")} ${about}`;
    case "dial":
      return `${verdict.purpose} ${verdict.targets.map((t) => `${t.destination.address}:${t.destination.port}`).join(" ")} as ${verdict.sourceAddress ?? "itself"} ${about}`;
    case "refuse":
      return `refuse ${verdict.reason} ${about}`;
  }
}

describe("decideOutbound", () => {
  const view = mesh({
    workloads: [web, api, outside],
    services: [
      service("api", ["10.96.0.1"], { 80: [{ workload: api.uid, address: "10.0.1.1", targetPort: 8080 }] }),
      service("mixed", ["10.96.0.2"], {
        80: [
          { workload: api.uid, address: "10.0.1.1", targetPort: 8080, weight: 3 },
          { workload: outside.uid, address: "10.0.0.9", targetPort: 8080, weight: 1 },
        ],
      }),
    ],
  });
  const identities = "spiffe://cluster.local/ns/shop/sa/api";

  test.each([
    ["10.96.0.1:80", 0.5, `carry 10.0.1.1:15008/10.0.1.1:8080/${identities} on destination`],
    ["10.0.1.1:99", 0.5, `carry 10.0.1.1:15008/10.0.1.1:99/${identities} on destination`],
    ["10.0.0.9:80", 0.5, "leave 10.0.0.9:80 as itself on destination"],
    ["198.51.100.1:443", 0.5, "leave 198.51.100.1:443 as itself on destination"],
    ["10.96.0.1:81", 0.5, "refuse unknown-service-port on destination"],
    ["10.96.0.2:80", 0.74, `carry 10.0.1.1:15008/10.0.1.1:8080/${identities} on chance`],
    ["10.96.0.2:80", 0.76, "leave 10.0.0.9:8080 as itself on chance"],
  ] as const)("%s with draw %d: %s", (destination, draw, expected) => {
    expect(show(decideOutbound(view, localPod(web), socket(destination), draw))).toBe(expected);
  });

  test("a pod that the mesh does not know is held", () => {
    const stranger = localPod(workload("stranger", "10.0.0.77"));
    expect(decideOutbound(view, stranger, socket("10.0.1.1:80"), 0)).toEqual({ kind: "hold" });
  });

  test("the label names source, Service and every endpoint that may be reached", () => {
    const verdict = decideOutbound(view, localPod(web), socket("10.96.0.1:80"), 0);
    expect(verdict).toMatchObject({
      source: web,
      service: { name: "api" },
      destinations: new Map([["10.0.1.1", api]]),
    });
  });
});

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
    expect(show(decideConnect(view, api1, request))).toBe(expected);
  });

  test("a denied identity is refused whatever its certificate says", () => {
    const view = mesh({ workloads: [web, api] }, { deniedIdentities: [web.identity] });
    const request = { source: socket("10.0.0.1:1"), authority: "10.0.1.1:80" };
    expect(decideConnect(view, api1, { ...request, peer: web.identity })).toMatchObject({
      reason: "certificate-revoked",
    });
    expect(decideConnect(view, api1, { ...request, peer: api.identity })).toMatchObject({ kind: "dial" });
  });

  test("policy asks the proven identity, not the owner of the address", () => {
    const view = mesh({
      workloads: [web, api],
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [{ from: [{ principals: ["cluster.local/ns/shop/sa/web"] }] }]),
      ],
    });
    const from = (peer: typeof web.identity) =>
      decideConnect(view, api1, { peer, source: socket("10.0.0.1:1"), authority: "10.0.1.1:80" });
    expect(from(web.identity)).toMatchObject({ kind: "dial", source: web });
    expect(from(identity("shop", "thief"))).toMatchObject({
      kind: "refuse",
      reason: "policy-denied",
      source: undefined,
    });
  });
});

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
    expect(show(decidePlaintext(view, api1, arrival))).toBe(expected);
  });

  test("the client's pod is told in the label, but it is not an identity for policy", () => {
    const view = mesh({
      workloads: [web, api],
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [{ from: [{ principals: ["cluster.local/ns/shop/sa/web"] }] }]),
      ],
    });
    const verdict = decidePlaintext(view, api1, { source: socket("10.0.0.1:1"), destination: socket("10.0.1.1:80") });
    expect(verdict).toMatchObject({ kind: "refuse", reason: "policy-denied", policy: "shop/allow", source: web });
  });

  test("a pod that the mesh does not know is held", () => {
    const arrival = { source: socket("10.0.0.1:1"), destination: socket("10.0.1.1:80") };
    expect(decidePlaintext(mesh({}), api1, arrival)).toEqual({ kind: "hold" });
  });
});
