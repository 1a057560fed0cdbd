/**
 * What one authorization decision costs with many policies: the index against a linear scan of the same compiled rules, as an honest
 * implementation without an index does it (policies by scope, first DENY or ALLOW match ends the scan). Both are asked the same
 * requests in the same run and process, in turns.
 *
 *   node bench/programs/policy-decisions.ts [--policies 10000] [--rules 10] [--decisions 2000] [--json]
 */
import { parseArgs } from "node:util";
import type { AuthorizationPolicy, AuthorizationRequest } from "../../src/model/authorization.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { Workload, WorkloadUid } from "../../src/model/workload.ts";
import { AuthorizationIndex } from "../../src/policy/authorization/authorization-index.ts";
import { matchRule } from "../../src/policy/authorization/compile-rule.ts";
import { type CompiledPolicy, compilePolicy, mustBeSure } from "../../src/policy/authorization/compiled-policy.ts";
import { factsOf } from "../../src/policy/authorization/facts.ts";
import { settings } from "../../test/mesh/build.ts";

const { values: options } = parseArgs({
  options: {
    policies: { type: "string", default: "10000" },
    rules: { type: "string", default: "10" },
    decisions: { type: "string", default: "2000" },
    json: { type: "boolean", default: false },
  },
});
const policyCount = Number(options.policies);
const ruleCount = Number(options.rules);
const decisions = Number(options.decisions);

const workload: Workload = {
  uid: "bench//Pod/bench/api" as WorkloadUid,
  name: "api",
  namespace: "bench",
  serviceAccount: "api",
  trustDomain: "cluster.local",
  identity: "spiffe://cluster.local/ns/bench/sa/api" as Identity,
  node: "n1",
  cluster: "bench",
  addresses: ["10.0.0.1"],
  hostNetwork: false,
  labels: new Map([["app", "api"]]),
  owner: { kind: "Deployment", name: "api" },
  canonicalName: "api",
  canonicalRevision: "latest",
  tunnel: "hbone",
  ready: true,
};

/** Deterministic numbers, so that every run asks the same. */
function mix(number: number): number {
  return (Math.imul(number ^ (number >>> 16), 0x45d9f3b) >>> 0) % 1_000_003;
}

/** All policies select the one workload; rules ask by principal, namespace, account, block and port as real ones do. */
function makePolicy(index: number): AuthorizationPolicy {
  const rules = Array.from({ length: ruleCount }, (_, position) => {
    const number = index * ruleCount + position;
    const source = {
      principals: [] as string[],
      notPrincipals: [] as string[],
      serviceAccounts: [] as string[],
      notServiceAccounts: [],
      namespaces: [] as string[],
      notNamespaces: [],
      trustDomains: [],
      notTrustDomains: [],
      ipBlocks: [] as string[],
      notIpBlocks: [] as string[],
      remoteIpBlocks: [],
      notRemoteIpBlocks: [],
      requestPrincipals: [],
      notRequestPrincipals: [],
    };
    const kind = number % 8;
    if (kind < 4) source.principals.push(`cluster.local/ns/n${mix(number) % 500}/sa/a${number}`);
    else if (kind === 4) source.namespaces.push(`n${mix(number) % 2000}`);
    else if (kind === 5) source.ipBlocks.push(`10.${mix(number) % 256}.${mix(number + 1) % 256}.0/24`);
    else if (kind === 6) source.serviceAccounts.push(`n${mix(number) % 500}/a${number}`);
    else source.principals.push(`cluster.local/ns/n${mix(number) % 5000}/*`);
    const operation = {
      ports: [String(1024 + (mix(number + 2) % 4000))],
      notPorts: [],
      hosts: [],
      notHosts: [],
      methods: [],
      notMethods: [],
      paths: [],
      notPaths: [],
    };
    return { from: [source], to: [operation], when: [] };
  });
  return {
    name: `p${index}`,
    namespace: "bench",
    createdAt: 0,
    action: index % 4 === 0 ? "DENY" : "ALLOW",
    dryRun: false,
    matchLabels: undefined,
    targetServices: [],
    rules,
    problems: [],
  };
}

function makeRequest(index: number): AuthorizationRequest {
  const number = mix(index * 7) % (policyCount * ruleCount);
  return {
    peer: `spiffe://cluster.local/ns/n${mix(number) % 500}/sa/a${number}` as Identity,
    sourceAddress: `10.${mix(index) % 256}.${mix(index + 1) % 256}.${1 + (index % 250)}`,
    destination: { address: "10.0.0.1", port: 1024 + (mix(number + 2) % 4000) },
  };
}

function linear(compiled: readonly CompiledPolicy[], request: AuthorizationRequest): "allow" | "deny" {
  const facts = factsOf(request, settings);
  if (facts === undefined) return "deny";
  const matches = (policy: CompiledPolicy): boolean =>
    policy.rules.some((rule) => matchRule(rule.compiled, facts, mustBeSure(policy)) === "yes");
  let allows = false;
  for (const policy of compiled) if (policy.tier === "deny" && matches(policy)) return "deny";
  for (const policy of compiled) {
    if (policy.tier !== "allow") continue;
    if (matches(policy)) return "allow";
    allows = true;
  }
  return allows ? "deny" : "allow";
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function heap(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

const policies = Array.from({ length: policyCount }, (_, index) => makePolicy(index));
const heapBefore = heap();
const builtFrom = performance.now();
const index = new AuthorizationIndex(settings, { serviceMembers: () => undefined });
for (const policy of policies) index.set(policy);
const first = makeRequest(0);
index.authorize(workload, first);
const buildMs = performance.now() - builtFrom;
const heapMb = (heap() - heapBefore) / 2 ** 20;
const compiled = policies.map(compilePolicy);
for (const { rules } of compiled) for (const rule of rules) void rule.compiled;

/**
 * Every request is asked in several rounds, with all others in between, and its median counts: what a request costs, without the times
 * when another process had the processor. The scan is slow, so it answers some of the same requests.
 */
const rounds = 5;
const scanEvery = 20;
const requests = Array.from({ length: decisions }, (_, position) => makeRequest(position));
const taken = { index: requests.map((): number[] => []), linear: requests.map((): number[] => []) };
const outcomes = { allow: 0, deny: 0 };
for (let round = 0; round < rounds; round += 1) {
  for (const [position, request] of requests.entries()) {
    const start = performance.now();
    const { outcome } = index.authorize(workload, request);
    taken.index[position]?.push(performance.now() - start);
    if (round === 0 && outcome !== "needs-http") outcomes[outcome] += 1;
  }
  for (const [position, request] of requests.entries()) {
    if (position % scanEvery !== 0) continue;
    const start = performance.now();
    const scanned = linear(compiled, request);
    taken.linear[position]?.push(performance.now() - start);
    if (scanned !== index.authorize(workload, request).outcome) {
      throw new Error(`index and scan disagree about ${JSON.stringify(request)}`);
    }
  }
}

/** Medians per request in microseconds, sorted. */
function medians(lists: readonly (readonly number[])[]): number[] {
  return lists
    .filter((list) => list.length > 0)
    .map(
      (list) =>
        percentile(
          list.toSorted((one, other) => one - other),
          0.5,
        ) * 1000,
    )
    .sort((one, other) => one - other);
}
const times = { index: medians(taken.index), linear: medians(taken.linear) };

const result = {
  policies: policyCount,
  rulesPerPolicy: ruleCount,
  decisions,
  outcomes,
  buildMs,
  heapMb,
  indexUs: { p50: percentile(times.index, 0.5), p99: percentile(times.index, 0.99) },
  linearUs: { p50: percentile(times.linear, 0.5), p99: percentile(times.linear, 0.99) },
  p99Ratio: percentile(times.linear, 0.99) / percentile(times.index, 0.99),
};
if (options.json) {
  console.log(JSON.stringify(result));
} else {
  const us = ({ p50, p99 }: { p50: number; p99: number }): string =>
    `p50 ${p50.toFixed(1)} µs   p99 ${p99.toFixed(1)} µs`;
  console.log(
    `${policyCount} policies x ${ruleCount} rules, ${decisions} decisions (${outcomes.allow} allow, ${outcomes.deny} deny)`,
  );
  console.log(`index    ${us(result.indexUs)}   built in ${buildMs.toFixed(0)} ms, ${heapMb.toFixed(0)} MB`);
  console.log(`linear   ${us(result.linearUs)}`);
  console.log(`p99 of the scan is ${result.p99Ratio.toFixed(0)} x that of the index`);
}
