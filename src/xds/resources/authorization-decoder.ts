/**
 * `istio.security.Authorization` as a policy of ours, for agents that take the mesh from istiod. A rule there is an AND of clauses, each an
 * OR of matches; here each way through the clauses is a rule of its own, a list of conditions that all hold. What came without a
 * meaning (a match about HTTP is sent empty, a value of a later version has no kind) never grants: an ALLOW does without it, a DENY takes
 * it for true, and a policy of which nothing else can be made refuses all that it selects.
 */
import { fromBinary } from "@bufbuild/protobuf";
import type { AuthorizationCondition, AuthorizationPolicy, AuthorizationRule } from "../../model/authorization.ts";
import { type Pattern, parsePattern, parsePrincipal } from "../../policy/authorization/pattern.ts";
import {
  Action,
  type Address,
  AuthorizationSchema,
  type Clause,
  type Match,
  type Rule,
  Scope,
  type ServiceAccountMatch,
  type StringMatch,
} from "../gen/istio/security/authorization_pb.ts";
import { checkedAddress, checkedPort, checkedText } from "./checked.ts";
import { InvalidResource } from "./resource-types.ts";

/** Ways through one rule's clauses; istiod writes three clauses with a handful of matches each. */
const mostWays = 4096;

/** The name on the stream must be the object's own, `namespace/name`. */
export function decodeAuthorization(resourceName: string, bytes: Uint8Array): AuthorizationPolicy {
  const message = fromBinary(AuthorizationSchema, bytes);
  const name = checkedText(message.name, "name");
  const { namespace, scope } = message;
  if (`${namespace}/${name}` !== resourceName)
    throw new InvalidResource(`is named ${JSON.stringify(resourceName)} and says that it is ${namespace}/${name}`);
  const known = message.action === Action.ALLOW || message.action === Action.DENY;
  const base = {
    name,
    namespace,
    createdAt: 0,
    action: message.action === Action.ALLOW ? "ALLOW" : "DENY",
    dryRun: message.dryRun,
    matchLabels: undefined,
    targetServices: [],
    ...selectionOf(scope),
  } as const;
  try {
    if (!known) throw new InvalidResource(`action ${message.action} is unknown to this agent`);
    return { ...base, rules: message.rules.flatMap((rule) => decodeRule(rule, base.action)), problems: [] };
  } catch (error) {
    if (!(error instanceof InvalidResource)) throw error;
    return { ...base, rules: [], problems: [error.message] };
  }
}

/** What stands for an Authorization that could not be read and has no last good version: it refuses in its whole namespace. */
export function closedAuthorization(resourceName: string, problem: string): AuthorizationPolicy {
  const slash = resourceName.indexOf("/");
  return {
    name: resourceName.slice(slash + 1),
    namespace: resourceName.slice(0, Math.max(slash, 0)),
    createdAt: 0,
    action: "DENY",
    dryRun: false,
    matchLabels: undefined,
    targetServices: [],
    rules: [],
    problems: [problem],
  };
}

function selectionOf(scope: Scope): Pick<AuthorizationPolicy, "scope" | "attached"> {
  switch (scope) {
    case Scope.GLOBAL:
      return { scope: "mesh" };
    case Scope.NAMESPACE:
      return { scope: "namespace" };
    case Scope.WORKLOAD_SELECTOR:
      return { attached: true };
    default:
      throw new InvalidResource(`scope ${String(scope)} is unknown to this agent`);
  }
}

type Conditions = readonly AuthorizationCondition[];

function decodeRule({ clauses }: Rule, action: "ALLOW" | "DENY"): AuthorizationRule[] {
  let ways: Conditions[] = [[]];
  for (const clause of clauses) {
    const alternatives = decodeClause(clause, action);
    if (ways.length * alternatives.length > mostWays)
      throw new InvalidResource(`a rule has more than ${mostWays} combinations of its clauses; split it`);
    ways = ways.flatMap((way) => alternatives.map((conditions) => [...way, ...conditions]));
  }
  return ways.map((when) => ({ from: [], to: [], when }));
}

/** Alternatives, each a list of conditions; no alternative never holds. */
function decodeClause({ matches }: Clause, action: "ALLOW" | "DENY"): Conditions[] {
  // A clause that names nothing asks nothing.
  if (matches.length === 0) return [[]];
  const alternatives: Conditions[] = [];
  for (const match of matches) {
    const conditions = decodeMatch(match);
    // Something that we cannot see stood here, or stands beside the rest: it may narrow it.
    const whole = conditions.length > 0 && match.extensions.length === 0;
    if (whole || action === "DENY") alternatives.push(conditions);
  }
  return alternatives;
}

function decodeMatch(match: Match): Conditions {
  const principal = (one: StringMatch) => text(one, parsePrincipal, "principals");
  const namespace = (one: StringMatch) => text(one, parsePattern, "namespaces");
  const port = (one: number) => String(checkedPort(one, "destination_ports"));
  return [
    condition("source.principal", match.principals, match.notPrincipals, principal),
    condition("source.namespace", match.namespaces, match.notNamespaces, namespace),
    condition("source.serviceAccount", match.serviceAccounts, match.notServiceAccounts, account),
    condition("source.ip", match.sourceIps, match.notSourceIps, block),
    condition("destination.ip", match.destinationIps, match.notDestinationIps, block),
    condition("destination.port", match.destinationPorts, match.notDestinationPorts, port),
  ].filter(({ values, notValues }) => values.length + notValues.length > 0);
}

function condition<T>(
  key: string,
  yes: readonly T[],
  no: readonly T[],
  decode: (one: T) => string,
): AuthorizationCondition {
  return { key, values: yes.map(decode), notValues: no.map(decode) };
}

/** As policies write it; an asterisk of the value itself would become a pattern and is refused. */
function text({ matchType }: StringMatch, parse: (value: string) => Pattern, field: string): string {
  const written = writtenPattern(matchType);
  const read = written === undefined ? undefined : parse(written);
  const same =
    read?.kind === "presence" ? written === "*" : read?.kind === matchType.case && read?.text === matchType.value;
  if (written === undefined || !same)
    throw new InvalidResource(`${field}: ${JSON.stringify(matchType)} cannot be compared by this agent`);
  return written;
}

function writtenPattern(match: StringMatch["matchType"]): string | undefined {
  switch (match.case) {
    case "presence":
      return "*";
    case "exact":
      // As a policy writes it this would be everything.
      return match.value === "*" ? undefined : match.value;
    case "prefix":
      return `${match.value}*`;
    case "suffix":
      return `*${match.value}`;
    case undefined:
      return undefined;
  }
}

function account({ namespace, serviceAccount }: ServiceAccountMatch): string {
  if (namespace === "" || serviceAccount === "" || `${namespace}${serviceAccount}`.includes("/"))
    throw new InvalidResource(`service_accounts: ${namespace}/${serviceAccount} is not a service account`);
  return `${namespace}/${serviceAccount}`;
}

function block({ address, length }: Address): string {
  const ip = checkedAddress(address, "address");
  if (length > address.length * 8) throw new InvalidResource(`address: ${ip}/${length} is no CIDR block`);
  return `${ip}/${length}`;
}
