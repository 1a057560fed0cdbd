import { describe, expect, test } from "vitest";
import type { AuthorizationPolicy, AuthorizationRequest, HttpRequestFacts } from "../../../src/model/authorization.ts";
import type { Identity } from "../../../src/model/identity.ts";
import type { MeshSettings } from "../../../src/model/mesh.ts";
import { authorizationPolicy, identity, mesh, type RuleInput, workload } from "../../mesh/build.ts";

const api = workload("api", "10.0.0.1");
const frontend = identity("shop", "frontend");
const stranger = identity("shop", "stranger");

function http(
  overrides: Partial<Omit<HttpRequestFacts, "header">> & { headers?: Record<string, readonly string[]> } = {},
): HttpRequestFacts {
  const { headers = {}, ...rest } = overrides;
  return { method: "GET", host: "api.shop", path: "/", ...rest, header: (name) => headers[name] ?? [] };
}

interface Ask {
  readonly peer?: Identity | "";
  readonly from?: string;
  readonly port?: number;
  readonly http?: HttpRequestFacts;
}

function request({ peer = frontend, from = "10.0.1.1", port = 8080, http: facts }: Ask): AuthorizationRequest {
  const connection = { peer, sourceAddress: from, destination: { address: "10.0.0.1", port } };
  return facts === undefined ? connection : { ...connection, http: facts };
}

/** The verdict in a few words: `deny policy-denied shop/deny#0`. */
function ask(
  policies: readonly AuthorizationPolicy[],
  asked: Ask,
  settings: Partial<MeshSettings> = {},
  to = api,
): string {
  const view = mesh({ workloads: [to], authorizationPolicies: policies }, settings);
  const { outcome, reason, policy, rule } = view.authorize(to, request(asked));
  return [outcome, ...(reason === "ok" ? [] : [reason]), policy && `${policy}#${rule}`]
    .filter((part) => part !== "")
    .join(" ");
}

const allow = (...rules: RuleInput[]): AuthorizationPolicy => authorizationPolicy("ALLOW", rules);
const deny = (...rules: RuleInput[]): AuthorizationPolicy => authorizationPolicy("DENY", rules);

describe("order", () => {
  const anybody: RuleInput = {};
  const onlyFrontend: RuleInput = { from: [{ principals: ["cluster.local/ns/shop/sa/frontend"] }] };

  test.each([
    ["nothing selects: allowed", [], "allow"],
    ["an ALLOW that matches", [allow(onlyFrontend)], "allow shop/allow#0"],
    ["DENY before ALLOW", [allow(anybody), deny(onlyFrontend)], "deny policy-denied shop/deny#0"],
    ["a DENY that doesn't match and no ALLOW", [deny({ to: [{ ports: ["1"] }] })], "allow"],
    ["an ALLOW without rules allows nothing", [allow()], "deny policy-denied shop/allow#-1"],
    ["one empty rule allows everything", [allow(anybody)], "allow shop/allow#0"],
    [
      "one matching ALLOW of several is enough",
      [allow(), authorizationPolicy("ALLOW", [{}, anybody], { name: "b" })],
      "allow shop/b#0",
    ],
    [
      "the first rule that matches is named",
      [allow({ to: [{ ports: ["1"] }] }, onlyFrontend, anybody)],
      "allow shop/allow#1",
    ],
    [
      "the first policy by name is named",
      [authorizationPolicy("DENY", [{}], { name: "b" }), authorizationPolicy("DENY", [{}], { name: "a" })],
      "deny policy-denied shop/a#0",
    ],
    ["CUSTOM can't be evaluated", [authorizationPolicy("CUSTOM", [{}])], "deny policy-unevaluable shop/custom#-1"],
    [
      "a problem closes, whatever the action",
      [authorizationPolicy("ALLOW", [{}], { problems: ["x"] })],
      "deny policy-unevaluable shop/allow#-1",
    ],
  ] as const)("%s", (_name, policies, verdict) => {
    expect(ask(policies, {})).toBe(verdict);
  });

  test("default deny refuses where no ALLOW selects, and an ALLOW opens", () => {
    expect(ask([], {}, { defaultAction: "deny" })).toBe("deny policy-denied");
    expect(ask([deny({ to: [{ ports: ["1"] }] })], {}, { defaultAction: "deny" })).toBe("deny policy-denied");
    expect(ask([allow({})], {}, { defaultAction: "deny" })).toBe("allow shop/allow#0");
  });
});

describe("shadows", () => {
  test("AUDIT and dry-run policies are recorded and refuse nothing", () => {
    const policies = [
      authorizationPolicy("AUDIT", [{ from: [{ namespaces: ["shop"] }] }]),
      authorizationPolicy("DENY", [{}], { name: "would-deny", dryRun: true }),
      authorizationPolicy("ALLOW", [], { name: "would-allow-nothing", dryRun: true }),
      authorizationPolicy("AUDIT", [{ from: [{ namespaces: ["other"] }] }], { name: "elsewhere" }),
      authorizationPolicy("AUDIT", [{}], { name: "broken", problems: ["x"] }),
    ];
    const view = mesh({ workloads: [api], authorizationPolicies: policies });
    expect(view.authorize(api, request({}))).toEqual({
      outcome: "allow",
      reason: "ok",
      policy: "",
      rule: -1,
      shadow: [
        { policy: "shop/audit", action: "AUDIT" },
        { policy: "shop/would-deny", action: "DENY" },
      ],
    });
  });

  test("those that ask about HTTP are recorded with the request", () => {
    const view = mesh({
      workloads: [api],
      authorizationPolicies: [authorizationPolicy("AUDIT", [{ to: [{ methods: ["GET"] }] }])],
    });
    expect(view.authorize(api, request({})).shadow).toEqual([]);
    expect(view.readsHttp(api, 8080)).toBe(false);
    expect(view.authorize(api, request({ http: http() })).shadow).toEqual([{ policy: "shop/audit", action: "AUDIT" }]);
  });
});

describe("scope", () => {
  const closed = (overrides: Partial<AuthorizationPolicy>): AuthorizationPolicy =>
    authorizationPolicy("ALLOW", [], overrides);
  test.each([
    ["its namespace", {}, true],
    ["another namespace", { namespace: "prod" }, false],
    ["the root namespace, for all", { namespace: "warren-system" }, true],
    ["labels that fit", { matchLabels: new Map([["app", "api"]]) }, true],
    ["labels that don't", { matchLabels: new Map([["app", "web"]]) }, false],
    [
      "labels of which one doesn't",
      {
        matchLabels: new Map([
          ["app", "api"],
          ["tier", "gold"],
        ]),
      },
      false,
    ],
    ["labels in the root namespace", { namespace: "warren-system", matchLabels: new Map([["app", "api"]]) }, true],
    ["an empty selector", { matchLabels: new Map() }, true],
    ["a Service that nobody knows", { targetServices: ["api"] }, false],
  ] as const)("a policy with %s selects: %s", (_name, overrides, selects) => {
    expect(ask([closed(overrides)], {})).toMatch(selects ? /^deny/ : /^allow$/);
  });

  test("a policy that is attached by name selects who names it", () => {
    const attached = closed({ attached: true, name: "p" });
    expect(ask([attached], {})).toBe("allow");
    expect(ask([attached], {}, {}, workload("api", "10.0.0.1", { attachedPolicies: ["shop/p"] }))).toBe(
      "deny policy-denied shop/p#-1",
    );
  });
});

describe("traps of other implementations, on the safe side", () => {
  test("an ALLOW of only negative identity fields does not let plaintext in", () => {
    for (const from of [
      { notPrincipals: ["*/sa/bad"] },
      { notNamespaces: ["bad"] },
      { notServiceAccounts: ["bad"] },
      { notTrustDomains: ["bad"] },
    ]) {
      expect(ask([allow({ from: [from] })], { peer: "" })).toContain("deny");
      expect(ask([allow({ from: [from] })], { peer: frontend })).toContain("allow");
    }
    for (const key of ["source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain"]) {
      expect(ask([allow({ when: [{ key, notValues: ["bad"] }] })], { peer: "" })).toContain("deny");
    }
  });

  test("a DENY of negative identity fields refuses plaintext", () => {
    expect(ask([deny({ from: [{ notPrincipals: ["*"] }] })], { peer: "" })).toContain("deny");
    expect(ask([deny({ from: [{ notPrincipals: ["*"] }] })], { peer: stranger })).toBe("allow");
  });

  test("a rule of only trustDomains works, in ALLOW and in DENY", () => {
    const rule: RuleInput = { from: [{ trustDomains: ["partner.example"] }] };
    const partner = identity("shop", "web", "partner.example");
    expect(ask([allow(rule)], { peer: partner })).toBe("allow shop/allow#0");
    expect(ask([allow(rule)], { peer: frontend })).toContain("deny");
    expect(ask([deny(rule)], { peer: partner })).toContain("deny");
    expect(ask([deny(rule)], { peer: frontend })).toBe("allow");
  });

  test("a DENY of only HTTP fields is enforced on requests, and undecided before", () => {
    const policy = deny({ to: [{ methods: ["DELETE"] }] });
    expect(ask([policy], {})).toBe("needs-http policy-denied shop/deny#0");
    expect(ask([policy], { http: http({ method: "DELETE" }) })).toBe("deny policy-denied shop/deny#0");
    expect(ask([policy], { http: http() })).toBe("allow");
  });

  test("a principal written with spiffe:// means what it says", () => {
    const rule: RuleInput = { from: [{ principals: ["spiffe://cluster.local/ns/shop/sa/frontend"] }] };
    expect(ask([allow(rule)], {})).toBe("allow shop/allow#0");
    expect(ask([deny(rule)], {})).toContain("deny");
  });

  test("an unknown policy name closes the workload", () => {
    const to = workload("api", "10.0.0.1", { attachedPolicies: ["shop/gone"] });
    expect(ask([allow({})], {}, {}, to)).toBe("deny policy-unevaluable shop/gone#-1");
  });

  test("an ALLOW with HTTP fields isn't dropped: the connection waits for its requests", () => {
    const policy = allow({ from: [{ principals: ["cluster.local/ns/shop/sa/frontend"] }], to: [{ methods: ["GET"] }] });
    expect(ask([policy], {})).toBe("needs-http policy-denied shop/allow#0");
    expect(ask([policy], { peer: stranger })).toBe("deny policy-denied shop/allow#-1");
    expect(ask([policy], { http: http() })).toBe("allow shop/allow#0");
    expect(ask([policy], { http: http({ method: "POST" }) })).toBe("deny policy-denied shop/allow#-1");
  });

  test("ports are the workload's own, also under HTTP rules", () => {
    const policy = allow({ to: [{ ports: ["8080"], methods: ["GET"] }] }, { to: [{ ports: ["9090"] }] });
    expect(ask([policy], { port: 9090 })).toBe("allow shop/allow#1");
    expect(ask([policy], { port: 8080 })).toContain("needs-http");
    expect(ask([policy], { port: 7070 })).toContain("deny");
    const view = mesh({ workloads: [api], authorizationPolicies: [policy] });
    expect([8080, 9090, 7070].map((port) => view.readsHttp(api, port))).toEqual([true, false, false]);
  });

  test("a header that is sent twice can't be one thing here and another there", () => {
    const when = { key: "request.headers[X-Role]", values: ["admin"] };
    const twice = http({ headers: { "x-role": ["admin", "user"] } });
    const once = http({ headers: { "x-role": ["admin"] } });
    expect(ask([allow({ when: [when] })], { http: twice })).toContain("deny");
    expect(ask([deny({ when: [when] })], { http: twice })).toContain("deny");
    expect(ask([allow({ when: [when] })], { http: once })).toContain("allow");
    expect(ask([deny({ when: [{ key: when.key, notValues: ["admin"] }] })], { http: twice })).toContain("deny");
    expect(ask([deny({ when: [{ key: when.key, notValues: ["admin"] }] })], { http: http() })).toContain("deny");
  });

  test("a port in the Host header and a trailing dot don't get past a DENY", () => {
    const policy = deny({ to: [{ hosts: ["api.example"] }] });
    for (const host of ["api.example", "api.example:8080", "api.example.", "api.example.:80"]) {
      expect(ask([policy], { http: http({ host }) })).toContain("deny");
    }
    expect(ask([policy], { http: http({ host: "other.example" }) })).toBe("allow");
  });

  test("an address that is none decides nothing but a refusal", () => {
    expect(ask([deny({ from: [{ ipBlocks: ["10.0.0.0/8"] }] })], { from: "garbage" })).toContain(
      "deny policy-unevaluable",
    );
  });
});

describe("trust domains", () => {
  const settings = { trustDomain: "corp.example", trustDomainAliases: ["old.example"] };
  const peers = ["corp.example", "old.example"].map((domain) => identity("shop", "frontend", domain));

  test("aliases and cluster.local name the own one, in both directions", () => {
    for (const domain of ["corp.example", "old.example", "cluster.local"]) {
      const rule: RuleInput = { from: [{ principals: [`${domain}/ns/shop/sa/frontend`] }] };
      for (const peer of peers) {
        expect(ask([allow(rule)], { peer }, settings)).toContain("allow");
        expect(ask([deny(rule)], { peer }, settings)).toContain("deny");
      }
    }
  });

  test("a foreign one stays foreign, also when it is called cluster.local", () => {
    const rule: RuleInput = { from: [{ principals: ["corp.example/ns/shop/sa/frontend"] }] };
    expect(ask([allow(rule)], { peer: identity("shop", "frontend", "foreign.example") }, settings)).toContain("deny");
    expect(ask([allow(rule)], { peer: frontend }, settings)).toContain("deny");
  });
});

describe("incremental changes", () => {
  test("removing and replacing policies leaves nothing of the old ones", () => {
    const view = mesh({ workloads: [api] });
    const outcome = (): string => view.authorize(api, request({})).outcome;
    view.apply({ authorizationPolicies: [deny({ from: [{ namespaces: ["shop"] }] })] });
    expect(outcome()).toBe("deny");
    view.apply({ authorizationPolicies: [deny({ from: [{ namespaces: ["other"] }] })] });
    expect(outcome()).toBe("allow");
    view.apply({ authorizationPolicies: [{ ...deny({}), matchLabels: new Map([["app", "web"]]) }] });
    expect(outcome()).toBe("allow");
    view.apply({ authorizationPolicies: [deny({})] });
    expect(outcome()).toBe("deny");
    view.apply({ removedAuthorizationPolicies: ["shop/deny"] });
    expect(outcome()).toBe("allow");
  });

  test("thousands of policies coming and going are still found", () => {
    const view = mesh({ workloads: [api] });
    const named = (index: number): AuthorizationPolicy =>
      authorizationPolicy("DENY", [{ from: [{ principals: [`cluster.local/ns/n${index}/sa/web`] }] }], {
        name: `p${index}`,
      });
    view.apply({ authorizationPolicies: Array.from({ length: 3000 }, (_, index) => named(index)) });
    view.apply({ removedAuthorizationPolicies: Array.from({ length: 2990 }, (_, index) => `shop/p${index}`) });
    const outcome = (index: number): string =>
      view.authorize(api, request({ peer: identity(`n${index}`, "web") })).outcome;
    expect([0, 1500, 2989, 2990, 2999].map(outcome)).toEqual(["allow", "allow", "allow", "deny", "deny"]);
  });
});
