import { expect, test } from "vitest";
import { MeshIndex } from "../../../src/mesh/mesh-index.ts";
import type { AuthorizationPolicy } from "../../../src/model/authorization.ts";
import { settings as base, service, workload } from "../../mesh/build.ts";
import { oracle } from "./oracle.ts";
import { Random } from "./random.ts";

/** Fixed by `WARREN_TEST_SEED` to repeat a failure. */
const seed = Number(process.env["WARREN_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const worlds = 2_600;
const requestsPerWorld = 40;

const workloads = [
  workload("api", "10.0.0.1", { attachedPolicies: ["shop/p0"], labels: { tier: "gold" } }),
  workload("web", "10.0.0.2"),
  workload("db", "10.0.0.3", { namespace: "prod" }),
  workload("root", "10.0.0.4", { namespace: "warren-system", labels: { app: "api" } }),
];
const members = new Map([
  ["shop/api", new Set(["api"])],
  ["shop/db", new Set(["web", "api"])],
]);

test(`${worlds * requestsPerWorld} random policy and request pairs get the oracle's answer (WARREN_TEST_SEED=${seed})`, {
  timeout: 300_000,
}, () => {
  const random = new Random(seed);
  const count = { allow: 0, deny: 0, "needs-http": 0, readsHttp: 0 };
  let index = new MeshIndex(base);
  let policies = new Map<string, AuthorizationPolicy>();
  for (let world = 0; world < worlds; world += 1) {
    // One index lives through several worlds, so that removal and replacement are tested as much as filing.
    if (world % 25 === 0) {
      policies = new Map();
      index = new MeshIndex(base);
      index.apply({
        workloads,
        services: [service("api", [], {}, workloads.slice(0, 1)), service("db", [], {}, workloads.slice(0, 2))],
      });
    }
    const before = new Set(policies.keys());
    for (const key of before) if (random.chance(0.4)) policies.delete(key);
    for (let made = 0; made < random.pick([1, 1, 2, 3, 4]); made += 1) {
      const policy = random.policy(`p${random.pick([0, 1, 2, 3, 4, 5, 6])}`);
      policies.set(`${policy.namespace}/${policy.name}`, policy);
    }
    // The attached name must exist in most worlds: unknown names are closed, and have a test of their own.
    if (!policies.has("shop/p0")) {
      policies.set("shop/p0", { ...random.policy("p0"), namespace: "shop", attached: true });
    }
    const settings = {
      ...base,
      trustDomain: "corp.example",
      trustDomainAliases: random.chance(0.5) ? ["old.example"] : [],
      defaultAction: random.chance(0.2) ? ("deny" as const) : ("allow" as const),
    };
    index.apply({
      settings,
      authorizationPolicies: policies.values(),
      removedAuthorizationPolicies: [...before].filter((key) => !policies.has(key)),
    });
    const oracleWorld = { settings, policies: [...policies.values()], members };
    for (let asked = 0; asked < requestsPerWorld; asked += 1) {
      const target = random.pick(workloads);
      // An attached policy that is attached by nothing else but its name is unknown to this workload unless it is attached.
      const isKnown = policies.get("shop/p0")?.attached === true || target.attachedPolicies === undefined;
      const request = random.request();
      const { http, ...connection } = request;
      const expected = isKnown ? oracle(oracleWorld, target, request) : "deny";
      const full = index.authorize(target, request);
      const early = index.authorize(target, connection);
      const told = (): string =>
        JSON.stringify({ world, target: target.name, request, full, early, policies: [...policies.values()] });
      if (full.outcome !== expected) expect.fail(`with the request: ${full.outcome} instead of ${expected}: ${told()}`);
      // What the connection alone decides must hold for every request on it.
      if (early.outcome !== "needs-http" && early.outcome !== expected) {
        expect.fail(`from the connection: ${early.outcome} instead of ${expected}: ${told()}`);
      }
      const reads = index.readsHttp(target, request.destination.port);
      if (early.outcome === "needs-http" && !reads)
        expect.fail(`needs HTTP on a port that has no HTTP rules: ${told()}`);
      if (early.outcome === "deny" && early.reason === "ok") expect.fail(`a refusal without a reason: ${told()}`);
      count[early.outcome] += 1;
      if (reads) count.readsHttp += 1;
      expect(http).toBeDefined();
    }
  }
  // The cases must not all be of one kind, or the test tells nothing.
  const total = worlds * requestsPerWorld;
  expect(total).toBeGreaterThanOrEqual(100_000);
  for (const kind of ["allow", "deny", "needs-http"] as const) expect(count[kind], kind).toBeGreaterThan(total / 50);
});
