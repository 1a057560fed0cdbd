/**
 * AuthorizationPolicy as `istio.security.Authorization`, for clients that know only Istio's types. It has no words for HTTP and some
 * others of ours, and never grants what the original refuses: an ALLOW rule that cannot be said whole is left out, a DENY rule is sent
 * without what cannot be said, and a policy that cannot be evaluated refuses everything that it selects.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { ipBytes, parseCidr } from "../../lib/ip.ts";
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
} from "../../model/authorization.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import { qualifiedAccount } from "../../policy/authorization/compile-rule.ts";
import { parsePattern } from "../../policy/authorization/pattern.ts";
import {
  Action,
  AddressSchema,
  type Authorization,
  AuthorizationSchema,
  type Clause,
  ClauseSchema,
  type Match,
  MatchSchema,
  type Rule,
  RuleSchema,
  Scope,
  type ServiceAccountMatch,
  ServiceAccountMatchSchema,
  type StringMatch,
} from "../gen/istio/security/authorization_pb.ts";
import { principalMatches, stringMatch, trustDomainMatches } from "./authorization-strings.ts";
import type { NamedResource } from "./resource-types.ts";

export type PolicySettings = Pick<
  MeshSettings,
  "rootNamespace" | "trustDomain" | "trustDomainAliases" | "defaultAction" | "deniedIdentities"
>;

/** Undefined for policies without an effect on connections: AUDIT, and dry runs that cannot be evaluated. */
export function encodeAuthorization(policy: AuthorizationPolicy, settings: PolicySettings): NamedResource | undefined {
  const { name, namespace, action, dryRun, problems } = policy;
  const evaluable = problems.length === 0 && action !== "CUSTOM";
  if (action === "AUDIT" || (dryRun && !evaluable)) return undefined;
  const base = { name, namespace, scope: scopeOf(policy, settings.rootNamespace), dryRun };
  if (!evaluable) return authorizationResource({ ...base, action: Action.DENY, rules: [create(RuleSchema)] });
  const translation: Translation = { allow: action === "ALLOW", namespace, settings };
  const rules = policy.rules.map((rule) => translateRule(rule, translation)).filter((rule) => rule !== undefined);
  return authorizationResource({ ...base, action: action === "ALLOW" ? Action.ALLOW : Action.DENY, rules });
}

/** True for a policy that holds only for workloads which name it. */
export function isSelector(policy: AuthorizationPolicy): boolean {
  return (policy.matchLabels?.size ?? 0) > 0 || policy.targetServices.length > 0 || policy.attached === true;
}

/** What Istio has no setting for, as policies: a default of deny, and identities that are refused everywhere. */
export function encodeSettingsPolicies(settings: PolicySettings): NamedResource[] {
  const { rootNamespace: namespace, defaultAction, deniedIdentities } = settings;
  const global = { namespace, scope: Scope.GLOBAL, dryRun: false };
  const resources: NamedResource[] = [];
  if (defaultAction === "deny") {
    resources.push(authorizationResource({ ...global, name: "(default-action)", action: Action.ALLOW, rules: [] }));
  }
  if (deniedIdentities.length > 0) {
    const principals = deniedIdentities.map((identity) =>
      stringMatch(parsePattern(identity.slice("spiffe://".length))),
    );
    const rules = [ruleOf([clauseOf([create(MatchSchema, { principals })])])];
    resources.push(authorizationResource({ ...global, name: "(denied-identities)", action: Action.DENY, rules }));
  }
  return resources;
}

export function authorizationResource(fields: {
  readonly name: string;
  readonly namespace: string;
  readonly scope: Scope;
  readonly action: Action;
  readonly dryRun: boolean;
  readonly rules: Rule[];
}): NamedResource {
  const message: Authorization = create(AuthorizationSchema, fields);
  const bytes = toBinary(AuthorizationSchema, message);
  return { name: `${fields.namespace}/${fields.name}`, aliases: [], bytes };
}

export function ruleOf(clauses: Clause[]): Rule {
  return create(RuleSchema, { clauses });
}

export function clauseOf(matches: Match[]): Clause {
  return create(ClauseSchema, { matches });
}

function scopeOf(policy: AuthorizationPolicy, rootNamespace: string): Scope {
  if (isSelector(policy)) return Scope.WORKLOAD_SELECTOR;
  return policy.namespace === rootNamespace ? Scope.GLOBAL : Scope.NAMESPACE;
}

interface Translation {
  readonly allow: boolean;
  readonly namespace: string;
  readonly settings: PolicySettings;
}

/** One alternative in Istio's words. `whole` is false when something had no words and was left out, which makes it match more. */
interface Said {
  readonly match: Match;
  readonly whole: boolean;
}

/** Undefined when nothing may be allowed by what is left of the rule. */
function translateRule({ from, to, when }: AuthorizationRule, translation: Translation): Rule | undefined {
  const parts: (readonly Said[])[] = [];
  if (from.length > 0) parts.push(from.map((source) => saySource(source, translation)));
  if (to.length > 0) parts.push(to.map(sayOperation));
  for (const condition of when) parts.push([sayCondition(condition, translation)]);
  const clauses: Clause[] = [];
  for (const alternatives of parts) {
    const kept = translation.allow ? alternatives.filter(({ whole }) => whole) : alternatives;
    if (kept.length === 0) return undefined;
    // An alternative that says nothing holds always, and so does the clause that has it.
    if (kept.some(({ match }) => isEmpty(match))) continue;
    clauses.push(clauseOf(kept.map(({ match }) => match)));
  }
  return ruleOf(clauses);
}

function saySource(source: AuthorizationSource, translation: Translation): Said {
  const fields = new MatchFields(translation);
  fields.principals(source.principals, source.notPrincipals);
  fields.trustDomains(source.trustDomains, source.notTrustDomains);
  fields.namespaces(source.namespaces, source.notNamespaces);
  fields.accounts(source.serviceAccounts, source.notServiceAccounts);
  fields.sourceBlocks(source.ipBlocks, source.notIpBlocks);
  fields.sourceBlocks(source.remoteIpBlocks, source.notRemoteIpBlocks);
  fields.unsayable(source.requestPrincipals, source.notRequestPrincipals);
  return fields.said();
}

function sayOperation(operation: AuthorizationOperation): Said {
  const { ports, notPorts, hosts, notHosts, methods, notMethods, paths, notPaths } = operation;
  const match = create(MatchSchema, {
    destinationPorts: ports.map(Number),
    notDestinationPorts: notPorts.map(Number),
  });
  return { match, whole: [hosts, notHosts, methods, notMethods, paths, notPaths].every((list) => list.length === 0) };
}

function sayCondition({ key, values, notValues }: AuthorizationCondition, translation: Translation): Said {
  const fields = new MatchFields(translation);
  switch (key) {
    case "source.principal":
      fields.principals(values, notValues);
      break;
    case "source.trustDomain":
      fields.trustDomains(values, notValues);
      break;
    case "source.namespace":
      fields.namespaces(values, notValues);
      break;
    case "source.serviceAccount":
      fields.accounts(values, notValues);
      break;
    case "source.ip":
    case "remote.ip":
      fields.sourceBlocks(values, notValues);
      break;
    case "destination.ip":
      fields.match.destinationIps = blocks(values);
      fields.match.notDestinationIps = blocks(notValues);
      break;
    case "destination.port":
      fields.match.destinationPorts = values.map(Number);
      fields.match.notDestinationPorts = notValues.map(Number);
      break;
    default:
      fields.unsayable(values, notValues);
  }
  return fields.said();
}

class MatchFields {
  readonly match: Match = create(MatchSchema);
  readonly #translation: Translation;
  #whole = true;
  #asksWhoNot = false;

  constructor(translation: Translation) {
    this.#translation = translation;
  }

  said(): Said {
    const { match } = this;
    const { principals, namespaces, serviceAccounts } = match;
    // Plaintext is nobody, so it is "not X" as well; an ALLOW must not take it for an answer.
    if (
      this.#translation.allow &&
      this.#asksWhoNot &&
      principals.length + namespaces.length + serviceAccounts.length === 0
    ) {
      match.principals = [stringMatch({ kind: "presence" })];
    }
    return { match, whole: this.#whole };
  }

  unsayable(...lists: readonly (readonly string[])[]): void {
    if (lists.some((list) => list.length > 0)) this.#whole = false;
  }

  principals(values: readonly string[], notValues: readonly string[]): void {
    this.#names(values, notValues, (value) => principalMatches(value, this.#translation.settings));
  }

  trustDomains(values: readonly string[], notValues: readonly string[]): void {
    this.#names(values, notValues, (value) => trustDomainMatches(value, this.#translation.settings));
  }

  namespaces(values: readonly string[], notValues: readonly string[]): void {
    this.match.namespaces = values.map((value) => stringMatch(parsePattern(value)));
    this.match.notNamespaces = notValues.map((value) => stringMatch(parsePattern(value)));
    this.#asksWhoNot ||= notValues.length > 0;
  }

  accounts(values: readonly string[], notValues: readonly string[]): void {
    this.match.serviceAccounts = values.map((value) => account(value, this.#translation.namespace));
    this.match.notServiceAccounts = notValues.map((value) => account(value, this.#translation.namespace));
    this.#asksWhoNot ||= notValues.length > 0;
  }

  sourceBlocks(values: readonly string[], notValues: readonly string[]): void {
    // Two lists that must both hold have one field: the second has no place.
    if (this.match.sourceIps.length > 0) this.unsayable(values);
    else this.match.sourceIps = blocks(values);
    this.match.notSourceIps.push(...blocks(notValues));
  }

  #names(
    values: readonly string[],
    notValues: readonly string[],
    matches: (value: string) => readonly StringMatch[] | undefined,
  ): void {
    const positive = values.map(matches);
    const negative = notValues.map(matches);
    if (positive.includes(undefined) || (values.length > 0 && this.match.principals.length > 0)) this.#whole = false;
    else this.match.principals.push(...positive.flatMap((list) => list ?? []));
    // A list of "not" that lacks one of its values would match more: right for DENY, and ALLOW leaves the alternative out.
    if (negative.includes(undefined)) this.#whole = false;
    this.match.notPrincipals.push(...negative.flatMap((list) => list ?? []));
    this.#asksWhoNot ||= notValues.length > 0;
  }
}

function account(value: string, policyNamespace: string): ServiceAccountMatch {
  const [namespace = "", serviceAccount = ""] = qualifiedAccount(value, policyNamespace).split("/");
  return create(ServiceAccountMatchSchema, { namespace, serviceAccount });
}

function blocks(values: readonly string[]): Match["sourceIps"] {
  return values.flatMap((value) => {
    const cidr = parseCidr(value);
    if (cidr === undefined || ipBytes(value.split("/", 1)[0] ?? "") === undefined) return [];
    return [create(AddressSchema, { address: Uint8Array.from(cidr.bytes), length: cidr.prefixLength })];
  });
}

function isEmpty(match: Match): boolean {
  return Object.values(match).every((list: unknown) => !Array.isArray(list) || list.length === 0);
}
