/**
 * A naive AuthorizationPolicy evaluator, written from the documented semantics and not from the implementation: it scans everything,
 * matches strings by regular expressions and addresses by node's BlockList. Only the answer counts: allow or deny.
 */
import { BlockList, isIPv6 } from "node:net";
import type {
  AuthorizationPolicy,
  AuthorizationRequest,
  AuthorizationRule,
  HttpRequestFacts,
} from "../../../src/model/authorization.ts";
import type { MeshSettings } from "../../../src/model/mesh.ts";
import type { Workload } from "../../../src/model/workload.ts";

export interface OracleWorld {
  readonly settings: MeshSettings;
  readonly policies: readonly AuthorizationPolicy[];
  /** Names of pods behind each Service, by `namespace/service`. */
  readonly members: ReadonlyMap<string, ReadonlySet<string>>;
}

export function oracle(
  world: OracleWorld,
  workload: Workload,
  request: AuthorizationRequest & { readonly http: HttpRequestFacts },
): "allow" | "deny" {
  const selected = world.policies.filter((policy) => selects(world, policy, workload));
  const enforced = selected.filter(({ action, dryRun }) => !dryRun && action !== "AUDIT");
  if (enforced.some(({ problems, action }) => problems.length > 0 || action === "CUSTOM")) return "deny";
  const matching = enforced.filter(({ rules, namespace, action }) =>
    rules.some((rule) => ruleMatches(rule, { world, namespace, request, allow: action === "ALLOW" })),
  );
  if (matching.some(({ action }) => action === "DENY")) return "deny";
  if (enforced.some(({ action }) => action === "ALLOW")) {
    return matching.some(({ action }) => action === "ALLOW") ? "allow" : "deny";
  }
  return world.settings.defaultAction;
}

function selects(world: OracleWorld, policy: AuthorizationPolicy, workload: Workload): boolean {
  const name = `${policy.namespace}/${policy.name}`;
  if (policy.attached === true) return (workload.attachedPolicies ?? []).includes(name);
  const mesh = policy.namespace === world.settings.rootNamespace;
  if (!mesh && policy.namespace !== workload.namespace) return false;
  if (policy.targetServices.length > 0) {
    return policy.targetServices.some(
      (service) => world.members.get(`${policy.namespace}/${service}`)?.has(workload.name) === true,
    );
  }
  return [...(policy.matchLabels ?? [])].every(([key, value]) => workload.labels.get(key) === value);
}

interface Asked {
  readonly world: OracleWorld;
  readonly namespace: string;
  readonly request: AuthorizationRequest & { readonly http: HttpRequestFacts };
  /** An ALLOW must be sure of a match, a DENY must be sure of a mismatch. */
  readonly allow: boolean;
}

function ruleMatches(rule: AuthorizationRule, asked: Asked): boolean {
  const { request, allow } = asked;
  const from =
    rule.from.length === 0 ||
    rule.from.some((source) => {
      const who = identityOf(asked);
      const about: [readonly string[], readonly string[], (value: string) => boolean][] = [
        [
          source.principals,
          source.notPrincipals,
          (value) => who.principals.some((one) => glob(value.replace(/^spiffe:\/\//, "")).test(one)),
        ],
        [
          source.serviceAccounts,
          source.notServiceAccounts,
          (value) => who.account === (value.includes("/") ? value : `${asked.namespace}/${value}`),
        ],
        [source.namespaces, source.notNamespaces, (value) => glob(value).test(who.namespace)],
        [source.trustDomains, source.notTrustDomains, (value) => who.trustDomains.some((one) => glob(value).test(one))],
      ];
      const identified = about.every(([positive, negative, hits]) => {
        if (request.peer === "") return positive.length === 0 && (negative.length === 0 || !allow);
        return (positive.length === 0 || positive.some(hits)) && !negative.some(hits);
      });
      const inside = (value: string): boolean => blockHolds(value, request.sourceAddress);
      return (
        identified &&
        bothWays(source.ipBlocks, source.notIpBlocks, inside) &&
        bothWays(source.remoteIpBlocks, source.notRemoteIpBlocks, inside)
      );
    });
  const to =
    rule.to.length === 0 ||
    rule.to.some((operation) => {
      const { method, path, host } = request.http;
      const names = [host, host.split(":")[0] ?? ""].flatMap((name) => [name, name.replace(/\.$/, "")]);
      return (
        bothWays(operation.ports, operation.notPorts, (value) => value === `${request.destination.port}`) &&
        bothWays(operation.methods, operation.notMethods, (value) => glob(value).test(method)) &&
        bothWays(operation.hosts, operation.notHosts, (value) =>
          names.some((name) => glob(value.toLowerCase()).test(name)),
        ) &&
        bothWays(operation.paths, operation.notPaths, (value) => pathGlob(value).test(path))
      );
    });
  return from && to && rule.when.every((condition) => conditionHolds(condition, asked));
}

function conditionHolds({ key, values, notValues }: AuthorizationRule["when"][number], asked: Asked): boolean {
  const { request, allow } = asked;
  const who = identityOf(asked);
  const identity: Record<string, (value: string) => boolean> = {
    "source.principal": (value) => who.principals.some((one) => glob(value.replace(/^spiffe:\/\//, "")).test(one)),
    "source.namespace": (value) => glob(value).test(who.namespace),
    "source.serviceAccount": (value) => who.account === (value.includes("/") ? value : `${asked.namespace}/${value}`),
    "source.trustDomain": (value) => who.trustDomains.some((one) => glob(value).test(one)),
  };
  const connection: Record<string, (value: string) => boolean> = {
    "source.ip": (value) => blockHolds(value, request.sourceAddress),
    "remote.ip": (value) => blockHolds(value, request.sourceAddress),
    "destination.ip": (value) => blockHolds(value, request.destination.address),
    "destination.port": (value) => value === `${request.destination.port}`,
  };
  const ofIdentity = identity[key];
  if (ofIdentity !== undefined) {
    if (request.peer === "") return values.length === 0 && !allow;
    return bothWays(values, notValues, ofIdentity);
  }
  const ofConnection = connection[key];
  if (ofConnection !== undefined) return bothWays(values, notValues, ofConnection);
  const header = /^request\.headers\[(.+)\]$/.exec(key)?.[1];
  if (header === undefined) throw new Error(`the oracle does not know ${key}`);
  const sent = request.http.header(header.toLowerCase());
  const hits = (list: readonly string[], text: string): boolean =>
    list.some((value) => value === "*" || glob(value).test(text));
  const all = (list: readonly string[]): boolean => sent.length > 0 && sent.every((text) => hits(list, text));
  const some = (list: readonly string[]): boolean =>
    sent.length > 0 && (sent.some((text) => hits(list, text)) || hits(list, sent.join(",")));
  const positive = values.length === 0 || (allow ? all(values) : some(values));
  const negative = notValues.length > 0 && (allow ? some(notValues) : all(notValues));
  return positive && !negative;
}

function bothWays(positive: readonly string[], negative: readonly string[], hits: (value: string) => boolean): boolean {
  return (positive.length === 0 || positive.some(hits)) && !negative.some(hits);
}

/** Own trust domain, its aliases and "cluster.local" all name a peer of the own mesh. */
function identityOf({ world, request }: Asked) {
  const [, trustDomain = "", namespace = "", account = ""] =
    /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(request.peer) ?? [];
  const own = [world.settings.trustDomain, ...world.settings.trustDomainAliases];
  const trustDomains = own.includes(trustDomain) ? [...own, "cluster.local"] : [trustDomain];
  return {
    trustDomains,
    namespace,
    account: `${namespace}/${account}`,
    principals: trustDomains.map((one) => `${one}/ns/${namespace}/sa/${account}`),
  };
}

function quoted(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** `*` alone wants something to be there. */
function glob(value: string): RegExp {
  if (value === "*") return /^.+$/s;
  const parts = value.split("*").map(quoted);
  return new RegExp(`^${parts.join(".*")}$`, "s");
}

function pathGlob(value: string): RegExp {
  if (!value.includes("{*")) return glob(value);
  return new RegExp(`^${quoted(value).replaceAll("\\{\\*\\*\\}", ".*").replaceAll("\\{\\*\\}", "[^/]+")}$`, "s");
}

function blockHolds(block: string, address: string): boolean {
  const [network = "", length] = block.split("/");
  const family = isIPv6(network) ? "ipv6" : "ipv4";
  if (family !== (isIPv6(address) ? "ipv6" : "ipv4")) return false;
  const list = new BlockList();
  list.addSubnet(network, Number(length ?? (family === "ipv6" ? 128 : 32)), family);
  return list.check(address, family);
}
