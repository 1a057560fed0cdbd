import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import type { AuthorizationRequest } from "../../../src/model/authorization.ts";
import type { MeshSettings } from "../../../src/model/mesh.ts";
import { Action, AuthorizationSchema, Scope } from "../../../src/xds/gen/istio/security/authorization_pb.ts";
import { encodeAuthorization, encodeSettingsPolicies } from "../../../src/xds/resources/authorization.ts";
import { encodePlaintextRefusal, plaintextRefusal } from "../../../src/xds/resources/strict-plaintext.ts";
import { authorizationPolicy, identity, mesh, peerAuthentication, settings, workload } from "../../mesh/build.ts";
import { allows } from "./istio-semantics.ts";
import { Random } from "./random.ts";

const target = workload("web", "10.0.0.5", { namespace: "a" });

describe("policies for clients that know only Istio's types", () => {
  it("never let in what the originals refuse, whatever rules, identities and settings", () => {
    let allowed = 0;
    let stricter = 0;
    for (let seed = 1; seed <= 1500; seed++) {
      const random = new Random(seed);
      const own: Partial<MeshSettings> = {
        trustDomain: random.one(["cluster.local", "own.example"]),
        trustDomainAliases: random.chance(2) ? [] : ["old.example"],
        defaultAction: random.one(["allow", "allow", "deny"]),
      };
      const policies = random.list(2, () => ({
        ...random.authorizationPolicy(),
        namespace: "a",
        name: `p${random.below(100)}`,
        matchLabels: undefined,
        targetServices: [],
        problems: random.chance(6) ? ["unknown"] : [],
        rules: [random.rule(), ...random.list(1, () => random.rule())],
      }));
      const view = mesh({ workloads: [target], authorizationPolicies: policies }, own);
      const wire = [
        ...[...view.authorizationPolicies()].flatMap((policy) => encodeAuthorization(policy, view.settings) ?? []),
        ...encodeSettingsPolicies(view.settings),
      ].map(({ bytes }) => fromBinary(AuthorizationSchema, bytes));
      for (let index = 0; index < 20; index++) {
        const domain = random.one(["cluster.local", "own.example", "old.example", "other.example"]);
        const request: AuthorizationRequest = {
          peer: random.chance(4) ? "" : identity(random.name(), random.name(), domain),
          sourceAddress: random.address(),
          destination: { address: "10.0.0.5", port: random.one([80, 8080, 9000]) },
        };
        const original = view.authorize(target, request).outcome === "allow";
        const translated = allows(wire, request);
        if (translated) allowed++;
        if (original && !translated) stricter++;
        if (translated) expect(original, `seed ${seed}: ${JSON.stringify({ request, policies, own })}`).toBe(true);
      }
    }
    // The generator reaches both answers, and strictness is the exception that HTTP and friends make.
    expect(allowed).toBeGreaterThan(5000);
    expect(stricter).toBeLessThan(allowed / 4);
  });

  const encode = (...args: Parameters<typeof encodeAuthorization>) => {
    const encoded = encodeAuthorization(...args);
    return encoded && fromBinary(AuthorizationSchema, encoded.bytes);
  };

  it("leave out what an ALLOW cannot say, and widen a DENY", () => {
    const http = [{ to: [{ methods: ["GET"], ports: ["80"] }] }, { to: [{ ports: ["81"] }] }];
    expect(encode(authorizationPolicy("ALLOW", http), settings)?.rules.map(({ clauses }) => clauses)).toMatchObject([
      [{ matches: [{ destinationPorts: [81] }] }],
    ]);
    expect(encode(authorizationPolicy("DENY", http), settings)?.rules).toMatchObject([
      { clauses: [{ matches: [{ destinationPorts: [80] }] }] },
      { clauses: [{ matches: [{ destinationPorts: [81] }] }] },
    ]);
  });

  it("refuse everything for what cannot be evaluated, and say nothing of what has no effect", () => {
    expect(encode(authorizationPolicy("ALLOW", [], { problems: ["x"] }), settings)).toMatchObject({
      action: Action.DENY,
      rules: [{ clauses: [] }],
    });
    expect(encode(authorizationPolicy("AUDIT", [{}]), settings)).toBeUndefined();
    expect(encode(authorizationPolicy("CUSTOM", [{}], { dryRun: true }), settings)).toBeUndefined();
  });

  it("have the scope that the object has", () => {
    const scope = (overrides: object) => encode(authorizationPolicy("ALLOW", [{}], overrides), settings)?.scope;
    expect(scope({})).toBe(Scope.NAMESPACE);
    expect(scope({ namespace: "warren-system" })).toBe(Scope.GLOBAL);
    expect(scope({ matchLabels: new Map([["a", "b"]]) })).toBe(Scope.WORKLOAD_SELECTOR);
    expect(scope({ targetServices: ["web"] })).toBe(Scope.WORKLOAD_SELECTOR);
  });

  it("tell of identities that are denied everywhere", () => {
    const denied = encodeSettingsPolicies({ ...settings, deniedIdentities: [identity("a", "b")] });
    expect(denied.map(({ bytes }) => fromBinary(AuthorizationSchema, bytes))).toMatchObject([
      {
        scope: Scope.GLOBAL,
        action: Action.DENY,
        rules: [{ clauses: [{ matches: [{ principals: [{ matchType: { value: "cluster.local/ns/a/sa/b" } }] }] }] }],
      },
    ]);
  });
});

describe("STRICT as a policy", () => {
  const plaintext = (port: number): AuthorizationRequest => ({
    peer: "",
    sourceAddress: "10.0.0.9",
    destination: { address: "10.0.0.1", port },
  });
  const web = workload("web", "10.0.0.1");
  const selector = { matchLabels: new Map([["app", "web"]]) };

  it.each([
    ["everywhere", [peerAuthentication({ mode: "STRICT" })], [80, 81]],
    [
      "but for one port",
      [peerAuthentication({ ...selector, mode: "STRICT", portModes: new Map([[80, "PERMISSIVE" as const]]) })],
      [81],
    ],
    [
      "on one port only",
      [peerAuthentication({ ...selector, mode: "PERMISSIVE", portModes: new Map([[80, "STRICT" as const]]) })],
      [80],
    ],
    [
      "inherited past an exception that says nothing new",
      [
        peerAuthentication({ mode: "STRICT" }),
        peerAuthentication({ ...selector, name: "web", portModes: new Map([[80, "UNSET" as const]]) }),
      ],
      [80, 81],
    ],
    ["nowhere", [peerAuthentication({ mode: "PERMISSIVE" })], []],
  ])("refuses plaintext %s", (_where, peerAuthentications, refused) => {
    const view = mesh({ workloads: [web], peerAuthentications });
    const refusal = plaintextRefusal(view, web, new Set([80]));
    const policies =
      refusal === undefined
        ? []
        : [fromBinary(AuthorizationSchema, encodePlaintextRefusal(refusal, "warren-system").bytes)];
    expect([80, 81].filter((port) => !allows(policies, plaintext(port)))).toEqual(refused);
    expect(allows(policies, { ...plaintext(80), peer: identity("a", "b") })).toBe(true);
  });
});
