/**
 * What one authorization decision costs with many policies: the index against a linear scan as good as one can be. The scan knows these
 * rules' fields only, prepared as numbers and plain strings, asks what is cheapest first and ends with the first DENY or ALLOW
 * match. Both are asked the same requests in the same run and process, in turns, and must agree.
 *
 *   node bench/programs/policy-decisions.ts [--policies 10000] [--rules 10] [--decisions 2000] [--json]
 */
import { parseArgs } from "node:util";
import type { AuthorizationPolicy, AuthorizationRequest } from "../../src/model/authorization.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { Workload, WorkloadUid } from "../../src/model/workload.ts";
import { AuthorizationIndex } from "../../src/policy/authorization/authorization-index.ts";
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

/** A rule as a scan wants it: its few fields, the port first, numbers as numbers. Nothing of it is shared with the index. */
interface ScannedRule {
  readonly ports: readonly number[];
  readonly principals: readonly ScannedText[];
  readonly namespaces: readonly string[];
  readonly accounts: readonly string[];
  readonly blocks: readonly { readonly base: number; readonly mask: number }[];
}

/** Exact, or the beginning of what it matches. */
interface ScannedText {
  readonly text: string;
  readonly prefix: boolean;
}

interface ScannedPolicy {
  readonly deny: boolean;
  readonly rules: readonly ScannedRule[];
}

function scanned({ action, rules }: AuthorizationPolicy): ScannedPolicy {
  return {
    deny: action === "DENY",
    rules: rules.map(({ from: [source], to: [operation] }) => ({
      ports: (operation?.ports ?? []).map(Number),
      principals: (source?.principals ?? []).map((value) =>
        value.endsWith("*") ? { text: value.slice(0, -1), prefix: true } : { text: value, prefix: false },
      ),
      namespaces: source?.namespaces ?? [],
      accounts: source?.serviceAccounts ?? [],
      blocks: (source?.ipBlocks ?? []).map((block) => {
        const [host = "", bits = "32"] = block.split("/");
        const mask = (-1 << (32 - Number(bits))) >>> 0;
        return { base: (ipv4(host) & mask) >>> 0, mask };
      }),
    })),
  };
}

function ipv4(host: string): number {
  return host.split(".").reduce((number, part) => number * 256 + Number(part), 0);
}

interface Asked {
  readonly port: number;
  readonly principal: string;
  readonly namespace: string;
  readonly account: string;
  readonly source: number;
}

function asked({ peer, sourceAddress, destination }: AuthorizationRequest): Asked {
  const principal = peer.slice("spiffe://".length);
  const [, , namespace = "", , account = ""] = principal.split("/");
  return {
    port: destination.port,
    principal,
    namespace,
    account: `${namespace}/${account}`,
    source: ipv4(sourceAddress),
  };
}

/** What is cheapest to ask, and tells most rules apart, comes first. */
function scannedMatches(rule: ScannedRule, request: Asked): boolean {
  const { ports, principals, namespaces, accounts, blocks } = rule;
  if (ports.length > 0 && !ports.includes(request.port)) return false;
  if (namespaces.length > 0 && !namespaces.includes(request.namespace)) return false;
  if (accounts.length > 0 && !accounts.includes(request.account)) return false;
  if (principals.length > 0) {
    const { principal } = request;
    const hit = principals.some(({ text, prefix }) => (prefix ? principal.startsWith(text) : principal === text));
    if (!hit) return false;
  }
  return blocks.length === 0 || blocks.some(({ base, mask }) => (request.source & mask) >>> 0 === base);
}

function linear(scan: readonly ScannedPolicy[], request: AuthorizationRequest): "allow" | "deny" {
  const facts = asked(request);
  let allows = false;
  for (const { deny, rules } of scan) {
    if (!deny) allows = true;
    else for (const rule of rules) if (scannedMatches(rule, facts)) return "deny";
  }
  if (!allows) return "allow";
  for (const { deny, rules } of scan) {
    if (!deny) for (const rule of rules) if (scannedMatches(rule, facts)) return "allow";
  }
  return "deny";
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
const scan = policies.map(scanned);

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
    const scanned = linear(scan, request);
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
