import { describe, expect, test } from "vitest";
import type { AuthorizationRequest } from "../../src/model/authorization.ts";
import { explain } from "../../src/policy/explain.ts";
import { authorizationPolicy, identity, mesh, peerAuthentication, workload } from "../mesh/build.ts";

const api = workload("api", "10.0.0.1");
const web = identity("shop", "web");

function request(overrides: Partial<AuthorizationRequest> = {}): AuthorizationRequest {
  return { peer: web, sourceAddress: "10.0.1.1", destination: { address: "10.0.0.1", port: 8080 }, ...overrides };
}

describe("explain", () => {
  test("names the rule that lets in, and what the others asked for in vain", () => {
    const view = mesh({
      workloads: [api],
      authorizationPolicies: [
        authorizationPolicy("ALLOW", [
          { from: [{ principals: ["cluster.local/ns/shop/sa/frontend"] }], to: [{ ports: ["80"] }, { ports: ["81"] }] },
          { from: [{ namespaces: ["shop"] }] },
        ]),
        authorizationPolicy("DENY", [{ from: [{ namespaces: ["prod"] }, { ipBlocks: ["10.9.0.0/16"] }] }]),
      ],
    });
    expect(explain(view, api, request())).toEqual({
      outcome: "allow",
      reason: "ok",
      decidedBy: "shop/allow",
      rule: 1,
      mode: { mode: "PERMISSIVE", policy: "" },
      policies: [
        {
          policy: "shop/allow",
          action: "ALLOW",
          dryRun: false,
          result: "matches",
          problems: [],
          rules: [
            {
              index: 0,
              answer: "no",
              missing: [
                { field: "from[0].source.principals", values: ["cluster.local/ns/shop/sa/frontend"], answer: "no" },
                { field: "to[0].operation.ports", values: ["80"], answer: "no" },
                { field: "to[1].operation.ports", values: ["81"], answer: "no" },
              ],
            },
            { index: 1, answer: "yes", missing: [] },
          ],
        },
        {
          policy: "shop/deny",
          action: "DENY",
          dryRun: false,
          result: "no match",
          problems: [],
          rules: [
            {
              index: 0,
              answer: "no",
              missing: [
                { field: "from[0].source.namespaces", values: ["prod"], answer: "no" },
                { field: "from[1].source.ipBlocks", values: ["10.9.0.0/16"], answer: "no" },
              ],
            },
          ],
        },
      ],
    });
  });

  test("tells what is still open before the request is known", () => {
    const policies = [
      authorizationPolicy("ALLOW", [
        {
          from: [{ principals: ["*/sa/web"] }],
          to: [{ methods: ["GET"] }],
          when: [{ key: "request.headers[x]", values: ["1"] }],
        },
      ]),
    ];
    const explanation = explain(mesh({ workloads: [api], authorizationPolicies: policies }), api, request());
    expect(explanation).toMatchObject({
      outcome: "needs-http",
      policies: [
        {
          result: "needs HTTP",
          rules: [
            {
              missing: [
                { field: "to[0].operation.methods", answer: "later" },
                { field: "when[0] request.headers[x] values", answer: "later" },
              ],
            },
          ],
        },
      ],
    });
  });

  test("tells a policy that cannot be evaluated with its problems", () => {
    const policies = [authorizationPolicy("ALLOW", [{}], { problems: ["spec.rules[0].form: unknown field"] })];
    expect(explain(mesh({ workloads: [api], authorizationPolicies: policies }), api, request())).toMatchObject({
      outcome: "deny",
      reason: "policy-unevaluable",
      decidedBy: "shop/allow",
      policies: [{ result: "unevaluable", problems: ["spec.rules[0].form: unknown field"] }],
    });
  });

  test.each([
    ["STRICT", "" as const, "deny", "strict-plaintext", "shop/default"],
    ["STRICT", web, "allow", "ok", ""],
    ["DISABLE", web, "deny", "tunnel-disabled", "shop/default"],
    ["DISABLE", "" as const, "allow", "ok", ""],
    ["PERMISSIVE", "" as const, "allow", "ok", ""],
  ] as const)("under %s a peer %j gets %s %s", (mode, peer, outcome, reason, decidedBy) => {
    const view = mesh({ workloads: [api], peerAuthentications: [peerAuthentication({ mode })] });
    expect(explain(view, api, request({ peer }))).toMatchObject({ outcome, reason, decidedBy });
  });

  test("a denied identity is told as revoked", () => {
    const view = mesh({ workloads: [api] }, { deniedIdentities: [web] });
    expect(explain(view, api, request())).toMatchObject({ outcome: "deny", reason: "certificate-revoked" });
  });
});
