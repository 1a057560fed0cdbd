import { describe, expect, test } from "vitest";
import { MeshIndex } from "../../src/mesh/mesh-index.ts";
import { PackedPolicies } from "../../src/mesh/packed-policies.ts";
import type { AuthorizationPolicy } from "../../src/model/authorization.ts";
import { Random } from "../xds/resources/random.ts";
import { authorizationPolicy, settings, workload } from "./build.ts";

describe("packed policies", () => {
  test("are read as they were put, whatever they say", () => {
    const random = new Random(3);
    const store = new PackedPolicies();
    for (let step = 0; step < 500; step++) {
      const policy: AuthorizationPolicy = {
        ...random.authorizationPolicy(),
        ...(random.chance(3) ? { attached: true } : {}),
        ...(random.chance(3) ? { scope: random.one(["mesh", "namespace"] as const) } : {}),
      };
      const stored = store.put(policy);
      expect(stored.read()).toStrictEqual(policy);
      if (random.chance(2)) stored.free();
    }
  });

  test("take no more memory however often they change", () => {
    const store = new PackedPolicies();
    const policy = authorizationPolicy("ALLOW", [{ from: [{ namespaces: ["shop"] }] }]);
    for (let step = 0; step < 10_000; step++) store.put(policy).free();
    expect(store.allocated).toBeLessThan(2 ** 20);
  });

  test("that are longer than a record are kept all the same", () => {
    const ports = Array.from({ length: 20_000 }, (_, at) => String(at));
    const policy = authorizationPolicy("DENY", [{ to: [{ ports }] }]);
    expect(new PackedPolicies().put(policy).read()).toEqual(policy);
  });

  test("decide as those do that are kept as they came, through any history", () => {
    const random = new Random(17);
    const packed = new MeshIndex(settings, { policies: new PackedPolicies() });
    const plain = new MeshIndex(settings);
    const workloads = ["a", "b", "c"].map((name, at) =>
      workload(name, `10.0.0.${at}`, { namespace: random.one(["n1", "n2"]), labels: { tier: name } }),
    );
    for (let step = 0; step < 400; step++) {
      const policy: AuthorizationPolicy = {
        ...random.authorizationPolicy(),
        name: `p${random.below(60)}`,
        namespace: random.one(["n1", "n2", settings.rootNamespace]),
        matchLabels: random.chance(2) ? undefined : new Map([["tier", random.one(["a", "b", "c"])]]),
        targetServices: [],
      };
      const delta = random.chance(4)
        ? { removedAuthorizationPolicies: [`${policy.namespace}/${policy.name}`] }
        : { authorizationPolicies: [policy] };
      expect(packed.apply(delta)?.authorizationPolicies).toEqual(plain.apply(delta)?.authorizationPolicies);
      const one = random.one(workloads);
      expect(packed.authorizationFor(one)).toEqual(plain.authorizationFor(one));
      if (step % 20 === 0) {
        const all = (index: MeshIndex) =>
          new Map(Array.from(index.authorizationPolicies(), (p) => [`${p.namespace}/${p.name}`, p]));
        expect(all(packed)).toEqual(all(plain));
      }
    }
  });
});
