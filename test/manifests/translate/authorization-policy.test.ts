import { describe, expect, test } from "vitest";
import { translateAuthorizationPolicy } from "../../../src/manifests/translate/authorization-policy.ts";
import { framed, policyObject } from "../objects.ts";

function translate(spec: unknown, metadata: Record<string, unknown> = {}) {
  return translateAuthorizationPolicy(framed(policyObject("AuthorizationPolicy", "p", spec, metadata)), "shop");
}

function problemFields(spec: unknown): string[] {
  return translate(spec).problems.map(({ field }) => field);
}

describe("AuthorizationPolicy", () => {
  test("the mission's example is read as it stands", () => {
    const spec = {
      selector: { matchLabels: { app: "api" } },
      rules: [
        {
          from: [{ source: { principals: ["cluster.local/ns/production/sa/frontend"] } }],
          to: [{ operation: { methods: ["GET"] } }],
        },
      ],
    };
    expect(translate(spec)).toMatchObject({
      kind: "ok",
      problems: [],
      value: {
        action: "ALLOW",
        dryRun: false,
        matchLabels: new Map([["app", "api"]]),
        targetServices: [],
        problems: [],
        rules: [
          {
            from: [{ principals: ["cluster.local/ns/production/sa/frontend"], notPrincipals: [] }],
            to: [{ methods: ["GET"], ports: [] }],
            when: [],
          },
        ],
      },
    });
  });

  test.each([[undefined], [{}], [null]])("spec %j allows nothing", (spec) => {
    expect(translate(spec)).toMatchObject({ kind: "ok", value: { action: "ALLOW", rules: [], problems: [] } });
  });

  test("rules for what a workload sends are told to be none, and deny as all that cannot be evaluated", () => {
    const egress = [{ to: [{ hosts: [] }] }];
    const { problems, ...translated } = translate({ egress, rules: [{}] });
    expect(problems.map(({ field }) => field)).toEqual(["spec.egress"]);
    expect(problems[0]?.message).toContain("about what a workload accepts");
    expect(translated).toMatchObject({ kind: "ok", value: { problems: [expect.stringContaining("spec.egress: ")] } });
  });

  test("one empty rule stays one rule", () => {
    for (const rules of [[{}], [null]]) {
      expect(translate({ rules })).toMatchObject({ kind: "ok", value: { rules: [{ from: [], to: [], when: [] }] } });
    }
  });

  test("Services of the same namespace are targets", () => {
    expect(translate({ targetRefs: [{ kind: "Service", group: "", name: "api" }] })).toMatchObject({
      value: { targetServices: ["api"], problems: [] },
    });
    expect(translate({ targetRef: { kind: "Service", name: "api" } })).toMatchObject({
      value: { targetServices: ["api"], problems: [] },
    });
  });

  test("a policy for gateways alone is none of ours, and says so", () => {
    const translation = translate({ targetRefs: [{ kind: "Gateway", group: "gateway.networking.k8s.io", name: "g" }] });
    expect(translation).toMatchObject({ kind: "ignored", problems: [{ field: "spec.targetRefs" }] });
  });

  test("dry run is an annotation", () => {
    const annotated = (text: string) => translate({}, { annotations: { "istio.io/dry-run": text } });
    expect(annotated("true")).toMatchObject({ value: { dryRun: true, problems: [] } });
    expect(annotated("false")).toMatchObject({ value: { dryRun: false, problems: [] } });
    expect(annotated("yes")).toMatchObject({ value: { dryRun: false }, problems: [{ field: /dry-run/ }] });
  });

  const from = (source: unknown) => ({ rules: [{ from: [{ source }] }] });
  const to = (operation: unknown) => ({ rules: [{ to: [{ operation }] }] });
  const when = (condition: unknown) => ({ rules: [{ when: [condition] }] });

  test.each([
    ["an unknown field", { rules: [{ form: [] }] }, ["spec.rules[0].form"]],
    ["an unknown source field", from({ principal: ["x"] }), ["spec.rules[0].from[0].source.principal"]],
    ["CUSTOM", { action: "CUSTOM", provider: { name: "x" }, rules: [{}] }, ["spec.action"]],
    ["a provider without CUSTOM", { provider: { name: "x" }, rules: [{}] }, ["spec.provider"]],
    ["DENY without rules", { action: "DENY" }, ["spec.rules"]],
    ["an empty from", { rules: [{ from: [] }] }, ["spec.rules[0].from"]],
    ["an empty source", from({}), ["spec.rules[0].from[0].source"]],
    ["a missing source", { rules: [{ from: [{}] }] }, ["spec.rules[0].from[0]"]],
    ["an empty operation", to({}), ["spec.rules[0].to[0].operation"]],
    ["an empty list", from({ principals: [] }), ["spec.rules[0].from[0].source.principals"]],
    ["an empty value", from({ principals: [""] }), ["spec.rules[0].from[0].source.principals[0]"]],
    ["an unparsable block", from({ ipBlocks: ["10.0.0.0/33"] }), ["spec.rules[0].from[0].source.ipBlocks[0]"]],
    ["a bad port", to({ ports: ["http"] }), ["spec.rules[0].to[0].operation.ports[0]"]],
    ["port 0", to({ notPorts: ["0"] }), ["spec.rules[0].to[0].operation.notPorts[0]"]],
    ["JWTs", from({ requestPrincipals: ["*"] }), ["spec.rules[0].from[0].source.requestPrincipals[0]"]],
    ["an inner asterisk", from({ principals: ["a*b"] }), ["spec.rules[0].from[0].source.principals[0]"]],
    ["two asterisks", from({ namespaces: ["*a*"] }), ["spec.rules[0].from[0].source.namespaces[0]"]],
    ["a wildcard account", from({ serviceAccounts: ["ns/*"] }), ["spec.rules[0].from[0].source.serviceAccounts[0]"]],
    [
      "accounts beside principals",
      from({ serviceAccounts: ["a"], principals: ["b"] }),
      ["spec.rules[0].from[0].source.serviceAccounts"],
    ],
    ["a trust domain with a slash", from({ trustDomains: ["a/b"] }), ["spec.rules[0].from[0].source.trustDomains[0]"]],
    ["a bad template", to({ paths: ["/a/{**}/{*}"] }), ["spec.rules[0].to[0].operation.paths[0]"]],
    ["an unknown key", when({ key: "request.mood", values: ["x"] }), ["spec.rules[0].when[0].key"]],
    ["SNI", when({ key: "connection.sni", values: ["x"] }), ["spec.rules[0].when[0].key"]],
    ["JWT claims", when({ key: "request.auth.claims[a]", values: ["x"] }), ["spec.rules[0].when[0].key"]],
    ["a condition without values", when({ key: "source.ip" }), ["spec.rules[0].when[0]"]],
    [
      "a bad value of a key",
      when({ key: "destination.port", notValues: ["x"] }),
      ["spec.rules[0].when[0].notValues[0]"],
    ],
    [
      "selector beside targets",
      { selector: { matchLabels: { a: "b" } }, targetRefs: [{ kind: "Service", name: "s" }] },
      ["spec.targetRefs"],
    ],
    ["a Service elsewhere", { targetRefs: [{ kind: "Service", name: "s", namespace: "x" }] }, ["spec.targetRefs"]],
    ["a selector wildcard", { selector: { matchLabels: { a: "b*" } } }, ["spec.selector.matchLabels[a]"]],
  ])("%s is a problem of the policy", (_name, spec, fields) => {
    expect(problemFields(spec)).toEqual(fields);
    const translation = translate(spec);
    expect(translation.kind === "ok" && translation.value.problems.length).toBe(fields.length);
  });

  test.each([
    ["rules", { rules: "all" }, "spec.rules"],
    ["action", { action: "PERMIT" }, "spec.action"],
    ["values", from({ principals: "x" }), "spec.rules[0].from[0].source.principals"],
    ["the whole spec", "deny", "spec"],
  ])("%s of the wrong shape reject the object; the safe reading denies the namespace", (_name, spec, field) => {
    expect(translate(spec)).toMatchObject({
      kind: "rejected",
      problems: [{ field }],
      otherwise: { action: "DENY", matchLabels: undefined, problems: [expect.stringContaining(field)] },
    });
  });
});
