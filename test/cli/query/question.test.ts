import { describe, expect, test } from "vitest";
import { allAllowed, answer, type QuestionFlags } from "../../../src/cli/query/question.ts";
import type { MeshDelta } from "../../../src/mesh/mesh-index.ts";
import { authorizationPolicy, identity, mesh, peerAuthentication, service, workload } from "../../mesh/build.ts";

const api = workload("api", "10.0.0.1");
const web = workload("web", "10.0.0.2");
const base = { from: "shop/web", to: "deploy/api:8080" };

function ask(delta: MeshDelta, flags: Partial<QuestionFlags> = {}) {
  return answer(mesh({ workloads: [api, web], ...delta }), "shop", { ...base, ...flags });
}

const getOnly = authorizationPolicy("ALLOW", [
  { from: [{ principals: ["cluster.local/ns/shop/sa/web"] }], to: [{ methods: ["GET"], paths: ["/a/*"] }] },
]);
const byHeader = authorizationPolicy("ALLOW", [{ when: [{ key: "request.headers[x-tenant]", values: ["blue"] }] }]);
const byAddress = authorizationPolicy("ALLOW", [{ from: [{ ipBlocks: ["10.0.0.2"] }] }]);
const byHost = authorizationPolicy("DENY", [{ to: [{ hosts: ["admin.shop"] }] }]);

describe("answer", () => {
  test.each<[string, MeshDelta, Partial<QuestionFlags>, object]>([
    ["no policy", {}, {}, { outcome: "allow", arrives: "mtls", identity: identity("shop", "web") }],
    ["HTTP rules without a request", { authorizationPolicies: [getOnly] }, {}, { outcome: "needs-http" }],
    ["a request that matches", { authorizationPolicies: [getOnly] }, { path: "/a/b" }, { outcome: "allow", rule: 0 }],
    ["another path, normalised", { authorizationPolicies: [getOnly] }, { path: "/a/../b" }, { outcome: "deny" }],
    ["another method", { authorizationPolicies: [getOnly] }, { method: "POST", path: "/a/b" }, { outcome: "deny" }],
    ["another identity", { authorizationPolicies: [getOnly] }, { from: "shop/x", path: "/a/b" }, { outcome: "deny" }],
    ["a header", { authorizationPolicies: [byHeader] }, { header: ["X-Tenant: blue"] }, { outcome: "allow" }],
    [
      "a header written with =",
      { authorizationPolicies: [byHeader] },
      { header: ["x-tenant=red"] },
      { outcome: "deny" },
    ],
    [
      "a Service's port, asked for as clients do",
      { services: [service("front", ["10.96.0.1"], { 80: [{ address: "10.0.0.1", targetPort: 8080 }] }, [api])] },
      { to: "10.96.0.1:80" },
      { outcome: "allow", port: 8080 },
    ],
    ["a host", { authorizationPolicies: [byHost] }, { host: "ADMIN.shop" }, { outcome: "deny", rule: 0 }],
    [
      "the client's own address",
      { authorizationPolicies: [byAddress] },
      {},
      { outcome: "allow", sourceAddress: "10.0.0.2" },
    ],
    ["another address", { authorizationPolicies: [byAddress] }, { sourceIp: "10.0.0.9" }, { outcome: "deny" }],
    [
      "plaintext under STRICT",
      { peerAuthentications: [peerAuthentication({ mode: "STRICT" })] },
      { from: "plaintext" },
      { outcome: "deny", reason: "strict-plaintext", decidedBy: "shop/default", arrives: "plaintext" },
    ],
    [
      "a mesh client under DISABLE, which sends plaintext",
      { peerAuthentications: [peerAuthentication({ mode: "DISABLE" })], authorizationPolicies: [getOnly] },
      { path: "/a/b" },
      { outcome: "deny", arrives: "plaintext", identity: "" },
    ],
    [
      "a client that is not enrolled, which sends plaintext",
      { workloads: [api, { ...web, tunnel: "none" }], peerAuthentications: [peerAuthentication({ mode: "STRICT" })] },
      {},
      { outcome: "deny", reason: "strict-plaintext", arrives: "plaintext" },
    ],
    [
      "a destination that is not enrolled",
      { workloads: [{ ...api, tunnel: "none" }, web], authorizationPolicies: [getOnly] },
      { method: "POST" },
      { enforced: false },
    ],
  ])("%s", (_name, delta, flags, expected) => {
    expect(ask(delta, flags)).toMatchObject([expected]);
  });

  test("pods to which the same is said share an answer, others have their own", () => {
    const owner = { kind: "Deployment", name: "api" };
    const pods = ["a", "b", "c"].map((name, index) =>
      workload(`api-${name}`, `10.0.1.${index}`, { owner, labels: { app: name === "c" ? "api" : "old" } }),
    );
    const policy = authorizationPolicy("ALLOW", [], { matchLabels: new Map([["app", "api"]]) });
    const answers = ask({ workloads: [...pods, web], authorizationPolicies: [policy] });
    expect(answers.map(({ pods: names, outcome }) => [names, outcome])).toEqual([
      [["shop/api-a", "shop/api-b"], "allow"],
      [["shop/api-c"], "deny"],
    ]);
    expect(allAllowed(answers)).toBe(false);
  });

  test("a destination that nothing enforces for counts as allowed, and the answer says so", () => {
    const answers = ask({ workloads: [{ ...api, tunnel: "none" }, web], authorizationPolicies: [getOnly] });
    expect(allAllowed(answers)).toBe(true);
    expect(answers[0]?.notes).toEqual(["the destination is not enrolled: nothing enforces policy there"]);
  });

  test.each<[Partial<QuestionFlags>, RegExp]>([
    [{ to: "deploy/api" }, /no workload and port/],
    [{ to: "deploy/api:0" }, /no workload and port/],
    [{ to: "deploy/api:70000" }, /no workload and port/],
    [{ to: "deploy/api:15008" }, /mesh's own/],
    [{ from: "web" }, /namespace\/serviceaccount, or plaintext/],
    [{ sourceIp: "nowhere" }, /no IP address/],
    [{ path: "/%zz" }, /malformed/],
    [{ header: ["nothing"] }, /Name=value/],
  ])("%j is refused as no question", (flags, message) => {
    expect(() => ask({}, flags)).toThrow(message);
  });
});
