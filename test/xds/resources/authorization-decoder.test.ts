import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import type { AuthorizationPolicy, AuthorizationRequest } from "../../../src/model/authorization.ts";
import {
  Action,
  type Authorization,
  AuthorizationSchema,
  Scope,
} from "../../../src/xds/gen/istio/security/authorization_pb.ts";
import { encodeAuthorization, encodeSettingsPolicies } from "../../../src/xds/resources/authorization.ts";
import { decodeAuthorization } from "../../../src/xds/resources/authorization-decoder.ts";
import { encodePlaintextRefusal } from "../../../src/xds/resources/strict-plaintext.ts";
import { identity, mesh, settings, workload } from "../../mesh/build.ts";
import { allows } from "./istio-semantics.ts";
import { Random } from "./random.ts";

const target = workload("web", "10.0.0.5", { namespace: "a" });

type Fields = Readonly<Record<string, unknown>>;

/** `rules` as lists of clauses, which are lists of matches. */
function decode(overrides: Fields = {}): AuthorizationPolicy {
  const { rules = [], ...rest } = overrides;
  const message = create(AuthorizationSchema, {
    name: "p",
    namespace: "a",
    scope: Scope.NAMESPACE,
    ...rest,
    rules: (rules as object[][][]).map((clauses) => ({ clauses: clauses.map((matches) => ({ matches })) })),
  });
  return decodeAuthorization("a/p", toBinary(AuthorizationSchema, message));
}

function answer(policy: AuthorizationPolicy, request: Partial<AuthorizationRequest> = {}, to = target): string {
  const view = mesh({ workloads: [to], authorizationPolicies: [policy] });
  const peer = identity("a", "b");
  const destination = { address: "10.0.0.5", port: 80 };
  return view.authorize(to, { peer, sourceAddress: "10.0.0.9", destination, ...request }).outcome;
}

describe("an Authorization from Istio", () => {
  it("says what it says there, whatever rules and identities, and where it doesn't it refuses", () => {
    let allowed = 0;
    let stricter = 0;
    for (let seed = 1; seed <= 1000; seed++) {
      const random = new Random(seed);
      const policies = random.list(2, () => ({
        ...random.authorizationPolicy(),
        namespace: "a",
        name: `p${random.below(100)}`,
        matchLabels: undefined,
        targetServices: [],
        problems: [],
        rules: [random.rule(), ...random.list(1, () => random.rule())],
      }));
      const denied = random.chance(4) ? [identity("web", "web")] : [];
      const sender = mesh({ workloads: [target], authorizationPolicies: policies }, { deniedIdentities: denied });
      const wire = [
        ...[...sender.authorizationPolicies()].flatMap((policy) => encodeAuthorization(policy, sender.settings) ?? []),
        ...encodeSettingsPolicies(sender.settings),
      ];
      const originals: Authorization[] = wire.map(({ bytes }) => fromBinary(AuthorizationSchema, bytes));
      const decoded = wire.map(({ name, bytes }) => decodeAuthorization(name, bytes));
      const view = mesh({ workloads: [target], authorizationPolicies: decoded });
      for (let index = 0; index < 20; index++) {
        const request: AuthorizationRequest = {
          peer: random.chance(4)
            ? ""
            : identity(random.name(), random.name(), random.one(["cluster.local", "other.example"])),
          sourceAddress: random.address(),
          destination: { address: "10.0.0.5", port: random.one([80, 8080, 9000]) },
        };
        const original = allows(originals, request);
        const ours = view.authorize(target, request).outcome === "allow";
        if (ours) allowed++;
        if (original && !ours) stricter++;
        if (ours) expect(original, `seed ${seed}: ${JSON.stringify(request)}`).toBe(true);
      }
    }
    expect(allowed).toBeGreaterThan(3000);
    // Plaintext is no "not X" that an ALLOW of ours would take for an answer.
    expect(stricter).toBeLessThan(allowed / 50);
  });

  it("holds for the whole mesh, its namespace, or those who name it", () => {
    const deny = { action: Action.DENY, rules: [[]] };
    const elsewhere = workload("db", "10.0.0.6", { namespace: "b" });
    const naming = workload("db", "10.0.0.6", { namespace: "b", attachedPolicies: ["a/p"] });
    expect(answer(decode({ ...deny, scope: Scope.GLOBAL }), {}, elsewhere)).toBe("deny");
    expect(answer(decode(deny), {}, elsewhere)).toBe("allow");
    expect(answer(decode(deny))).toBe("deny");
    expect(answer(decode({ ...deny, scope: Scope.WORKLOAD_SELECTOR }), {}, elsewhere)).toBe("allow");
    expect(answer(decode({ ...deny, scope: Scope.WORKLOAD_SELECTOR }), {}, naming)).toBe("deny");
    const inRoot = { ...decode(deny), namespace: settings.rootNamespace };
    expect(answer(inRoot)).toBe("allow");
  });

  it("refuses plaintext as STRICT that was turned into a policy does", () => {
    const { name, bytes } = encodePlaintextRefusal({ except: true, ports: [81] }, "a");
    const strict = decodeAuthorization(name, bytes);
    const to = workload("web", "10.0.0.5", { namespace: "a", attachedPolicies: [name] });
    const port = (port: number) => ({ destination: { address: "10.0.0.5", port } });
    expect(answer(strict, { peer: "" }, to)).toBe("deny");
    expect(answer(strict, { peer: "", ...port(81) }, to)).toBe("allow");
    expect(answer(strict, {}, to)).toBe("allow");
  });

  it.each<[string, Fields, string]>([
    ["matches about HTTP, which arrive empty, in an ALLOW", { rules: [[[{}]]] }, "deny"],
    ["the same beside one that can be read", { rules: [[[{}, { destinationPorts: [80] }]]] }, "allow"],
    ["the same in a DENY", { action: Action.DENY, rules: [[[{}]]] }, "deny"],
    ["no rules in an ALLOW", {}, "deny"],
    ["no rules in a DENY", { action: Action.DENY }, "allow"],
    ["a rule without clauses", { rules: [[]] }, "allow"],
    ["a clause without matches", { rules: [[[]]] }, "allow"],
    [
      "a narrowing that is unknown, in an ALLOW",
      { rules: [[[{ destinationPorts: [80], extensions: [{ name: "x" }] }]]] },
      "deny",
    ],
    ["an action of a later version", { action: 7 }, "deny"],
    ["a value of no kind", { action: Action.DENY, rules: [[[{ namespaces: [{}] }]]] }, "deny"],
    [
      "an asterisk in an exact value",
      { rules: [[[{ namespaces: [{ matchType: { case: "exact", value: "a*" } }] }]]] },
      "deny",
    ],
    [
      "a block that is none",
      { action: Action.DENY, rules: [[[{ sourceIps: [{ address: new Uint8Array(4), length: 33 }] }]]] },
      "deny",
    ],
    ["dry run", { action: Action.DENY, dryRun: true, rules: [[]] }, "allow"],
  ])("with %s", (_what, overrides, outcome) => {
    expect(answer(decode(overrides))).toBe(outcome);
  });

  it("does not become a million rules: what is too large to unfold refuses", () => {
    const many = Array.from({ length: 100 }, (_, index) => ({ destinationPorts: [index + 1], sourceIps: [] }));
    const policy = decode({ rules: [[many, many]] });
    expect(policy.problems).toEqual([expect.stringContaining("4096")]);
    expect(answer(policy)).toBe("deny");
  });

  it("is refused under another name or with a scope of a later version", () => {
    const bytes = (scope: Scope) =>
      toBinary(AuthorizationSchema, create(AuthorizationSchema, { name: "p", namespace: "a", scope }));
    expect(() => decodeAuthorization("a/q", bytes(1))).toThrow(/says that it is a\/p/);
    expect(() => decodeAuthorization("a/p", bytes(9 as Scope))).toThrow(/scope 9/);
  });
});
