import { describe, expect, test } from "vitest";
import { type MeshDelta, MeshIndex } from "../../src/mesh/mesh-index.ts";
import { PackedPolicies } from "../../src/mesh/packed-policies.ts";
import type { AuthorizationPolicy } from "../../src/model/authorization.ts";
import { lint } from "../../src/policy/lint.ts";
import { lintCodes } from "../../src/policy/lint-codes.ts";
import { authorizationPolicy, mesh, peerAuthentication, type RuleInput, service, workload } from "../mesh/build.ts";

const api = workload("api", "10.0.0.1");
const strict = peerAuthentication({ mode: "STRICT" });

/** Findings of a mesh in one line each. */
function found(delta: MeshDelta, whole = true): string[] {
  return lint(mesh({ workloads: [api], peerAuthentications: [strict], ...delta }), { whole }).map(
    ({ code, severity, object, field }) => [code, severity, object, field].filter((part) => part !== "").join(" "),
  );
}

function foundIn(
  action: AuthorizationPolicy["action"],
  rule: RuleInput,
  delta: MeshDelta = {},
  overrides: Partial<AuthorizationPolicy> = {},
): string[] {
  return found({ authorizationPolicies: [authorizationPolicy(action, [rule], { name: "p", ...overrides })], ...delta });
}

const web: RuleInput = { from: [{ principals: ["cluster.local/ns/shop/sa/web"] }] };

describe("lint", () => {
  test("finds nothing in a sound mesh", () => {
    expect(foundIn("ALLOW", { ...web, to: [{ ports: ["8080"], methods: ["GET"] }] })).toEqual([]);
  });

  test("finds as much where policies are read anew each time that they are asked for", () => {
    const packed = new MeshIndex(mesh({}).settings, { policies: new PackedPolicies() });
    const authorizationPolicies = [authorizationPolicy("ALLOW", [web], { name: "p", matchLabels: api.labels })];
    packed.apply({ workloads: [api], peerAuthentications: [strict], authorizationPolicies });
    expect(lint(packed, { whole: true })).toEqual([]);
  });

  test.each([
    ["a problem", { problems: ["x"] }, "WP100 error shop/p"],
    ["a selector without a match", { matchLabels: new Map([["app", "apy"]]) }, "WP101 warning shop/p spec.selector"],
    ["a Service that isn't there", { targetServices: ["apy"] }, "WP114 warning shop/p spec.targetRefs"],
  ])("%s", (_name, overrides, line) => {
    expect(foundIn("ALLOW", web, {}, overrides)).toEqual([line]);
  });

  const at = "spec.rules[0]";
  test.each([
    [
      "a scheme",
      "ALLOW",
      { from: [{ principals: ["spiffe://cluster.local/ns/a/sa/b"] }] },
      `WP103 note shop/p ${at}.from[0].source.principals[0]`,
    ],
    [
      "a foreign trust domain",
      "ALLOW",
      { from: [{ notPrincipals: ["corp.example/ns/a/sa/b"], namespaces: ["a"] }] },
      `WP104 warning shop/p ${at}.from[0].source.notPrincipals[0]`,
    ],
    [
      "a foreign trust domain in a condition",
      "DENY",
      { when: [{ key: "source.principal", values: ["x.example/*"] }] },
      `WP104 warning shop/p ${at}.when[0]`,
    ],
    ["only negative identity", "ALLOW", { from: [{ notNamespaces: ["a"] }] }, `WP105 note shop/p ${at}.from[0].source`],
    ["only HTTP in a DENY", "DENY", { to: [{ methods: ["PUT"] }] }, `WP109 warning shop/p ${at}`],
    [
      "remote blocks",
      "ALLOW",
      { from: [{ remoteIpBlocks: ["10.0.0.0/8"] }] },
      `WP113 note shop/p ${at}.from[0].source.remoteIpBlocks`,
    ],
    ["recorded HTTP", "AUDIT", { to: [{ methods: ["PUT"] }] }, `WP116 note shop/p ${at}`],
  ] as const)("%s", (_name, action, rule, line) => {
    expect(foundIn(action, rule)).toEqual([line]);
  });

  test.each([
    ["a wildcard trust domain", "ALLOW", { from: [{ principals: ["*/ns/a/sa/b"] }] }],
    ["the local name of the trust domain", "ALLOW", { from: [{ principals: ["cluster.local/*"] }] }],
    ["a DENY that names its HTTP ports", "DENY", { to: [{ methods: ["PUT"], ports: ["80"] }] }],
    ["negative identity in a DENY", "DENY", { from: [{ notPrincipals: ["*"] }] }],
  ] as const)("not: %s", (_name, action, rule) => {
    expect(foundIn(action, rule)).toEqual([]);
  });

  test("identities asked for while plaintext is let in, by port", () => {
    const permissive = { peerAuthentications: [peerAuthentication({ mode: "PERMISSIVE" })] };
    expect(foundIn("ALLOW", web, permissive)).toEqual([`WP106 note shop/p ${at}`]);
    expect(foundIn("DENY", web, permissive)).toEqual([`WP115 warning shop/p ${at}`]);
    const exception = peerAuthentication({
      name: "e",
      matchLabels: new Map([["app", "api"]]),
      portModes: new Map([[9090, "PERMISSIVE"]]),
    });
    const services = [service("api", [], { 80: [{ workload: api.uid, address: "10.0.0.1", targetPort: 9090 }] })];
    expect(foundIn("DENY", web, { peerAuthentications: [strict, exception], services })).toEqual([
      `WP115 warning shop/p ${at}`,
    ]);
  });

  test("a Service's port where the workload's is meant", () => {
    const services = [service("api", [], { 80: [{ workload: api.uid, address: "10.0.0.1", targetPort: 8080 }] })];
    expect(foundIn("ALLOW", { ...web, to: [{ ports: ["80"] }] }, { services })).toEqual([
      `WP108 warning shop/p ${at}.to[0].operation`,
    ]);
    expect(foundIn("ALLOW", { ...web, to: [{ ports: ["8080"] }] }, { services })).toEqual([]);
  });

  test("HTTP fields on a port that says it is something else", () => {
    const entry = service("db", [], { 5432: [{ workload: api.uid, address: "10.0.0.1", targetPort: 5432 }] });
    const services = [
      { ...entry, service: { ...entry.service, ports: [{ name: "db", port: 5432, appProtocol: "postgresql" }] } },
    ];
    const rule: RuleInput = { ...web, to: [{ methods: ["GET"] }] };
    expect(foundIn("ALLOW", rule, { services })).toEqual([`WP107 warning shop/p ${at}`]);
    expect(foundIn("ALLOW", { ...web, to: [{ methods: ["GET"], ports: ["80"] }] }, { services })).toEqual([]);
  });

  test("PeerAuthentications that lose, that can't have ports, that stand in the wrong place or select nobody", () => {
    const labels = new Map([["app", "api"]]);
    const peerAuthentications = [
      strict,
      peerAuthentication({ name: "later", createdAt: 2, mode: "PERMISSIVE" }),
      peerAuthentication({ name: "ports", namespace: "warren-system", portModes: new Map([[80, "DISABLE"]]) }),
      peerAuthentication({ name: "rooted", namespace: "warren-system", matchLabels: labels }),
      peerAuthentication({ name: "typo", matchLabels: new Map([["app", "apy"]]) }),
    ];
    expect(found({ peerAuthentications })).toEqual([
      "WP102 warning shop/later",
      "WP101 warning shop/typo spec.selector",
      "WP110 error warren-system/ports spec.portLevelMtls",
      "WP112 warning warren-system/rooted spec.selector",
    ]);
  });

  test("policies for workloads outside the mesh", () => {
    const workloads = [workload("api", "10.0.0.1", { tunnel: "none" })];
    expect(foundIn("ALLOW", web, { workloads })).toEqual(["WP111 warning shop/p", "WP111 warning shop/default"]);
  });

  test("without the whole mesh only what the policies themselves tell", () => {
    const policies = [
      authorizationPolicy("ALLOW", [{ from: [{ notNamespaces: ["a"] }] }], {
        name: "p",
        matchLabels: new Map([["app", "apy"]]),
      }),
    ];
    expect(found({ authorizationPolicies: policies }, false)).toEqual([`WP105 note shop/p ${at}.from[0].source`]);
  });

  test("codes are told in words", () => {
    expect(Object.keys(lintCodes)).toHaveLength(18);
  });
});
