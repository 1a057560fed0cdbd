/**
 * Rules compiled to literals: one per field of a source, operation or condition. A literal answers yes, no, or `later` (it asks about
 * HTTP and only the connection is known).
 *
 * Some questions have no sure answer: whether plaintext comes from somebody who is *not* X, or what a header says that was sent twice.
 * `sure` tells which way such an answer must fall: an ALLOW rule matches only what surely matches, a DENY rule all that may match.
 */
import { type Cidr, cidrContains, parseCidr } from "../../lib/ip.ts";
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationRule,
  AuthorizationSource,
  HttpRequestFacts,
} from "../../model/authorization.ts";
import type { Facts, PeerFacts } from "./facts.ts";
import { compilePathTemplate, isPathTemplate } from "./path-template.ts";
import { matchesPattern, type Pattern, parsePattern, parsePrincipal } from "./pattern.ts";
import { headerOfKey } from "./value-problems.ts";

export type Answer = "yes" | "no" | "later";

export interface Literal {
  /** As in the object, `from[0].source.principals`. */
  readonly field: string;
  readonly values: readonly string[];
  test(facts: Facts, sure: boolean): Answer;
}

/** `from` and `to` are lists of alternatives (any, if empty), `when` a list of conditions that all must hold. */
export interface CompiledRule {
  readonly from: readonly (readonly Literal[])[];
  readonly to: readonly (readonly Literal[])[];
  readonly when: readonly Literal[];
}

/** `namespace` is the policy's: an account named alone is one of its own namespace. */
export function compileRule(rule: AuthorizationRule, namespace: string): CompiledRule {
  return {
    from: rule.from.map((source, index) => compileSource(source, namespace, `from[${index}].source`)),
    to: rule.to.map((operation, index) => compileOperation(operation, `to[${index}].operation`)),
    when: rule.when.flatMap((condition, index) => compileCondition(condition, namespace, `when[${index}]`)),
  };
}

/** True if some field of the rule asks about requests. */
export function asksHttp(rule: AuthorizationRule): boolean {
  return (
    rule.to.some(({ hosts, notHosts, methods, notMethods, paths, notPaths }) =>
      [hosts, notHosts, methods, notMethods, paths, notPaths].some((values) => values.length > 0),
    ) || rule.when.some(({ key }) => headerOfKey(key) !== undefined)
  );
}

export function matchRule(rule: CompiledRule, facts: Facts, sure: boolean): Answer {
  const from = matchAny(rule.from, facts, sure);
  if (from === "no") return "no";
  const to = matchAny(rule.to, facts, sure);
  if (to === "no") return "no";
  const when = matchAll(rule.when, facts, sure);
  if (when === "no") return "no";
  return from === "later" || to === "later" || when === "later" ? "later" : "yes";
}

export function matchAny(alternatives: readonly (readonly Literal[])[], facts: Facts, sure: boolean): Answer {
  if (alternatives.length === 0) return "yes";
  let answer: Answer = "no";
  for (const literals of alternatives) {
    const one = matchAll(literals, facts, sure);
    if (one === "yes") return "yes";
    if (one === "later") answer = "later";
  }
  return answer;
}

export function matchAll(literals: readonly Literal[], facts: Facts, sure: boolean): Answer {
  let answer: Answer = "yes";
  for (const literal of literals) {
    const one = literal.test(facts, sure);
    if (one === "no") return "no";
    if (one === "later") answer = "later";
  }
  return answer;
}

const answer = (holds: boolean): Answer => (holds ? "yes" : "no");

type PeerTest = (peer: PeerFacts) => boolean;
type FactsTest = (facts: Facts) => boolean;

function literals(...list: readonly (Literal | undefined)[]): Literal[] {
  return list.filter((literal) => literal !== undefined);
}

/** Identity: without one a positive field never holds, and a negative one holds only where that refuses. */
function ofPeer(field: string, values: readonly string[], negative: boolean, hits: PeerTest): Literal | undefined {
  if (values.length === 0) return undefined;
  return {
    field,
    values,
    test: ({ peer }, sure) => {
      if (peer === undefined) return answer(negative && !sure);
      return answer(hits(peer) !== negative);
    },
  };
}

function ofConnection(
  field: string,
  values: readonly string[],
  negative: boolean,
  hits: FactsTest,
): Literal | undefined {
  if (values.length === 0) return undefined;
  return { field, values, test: (facts) => answer(hits(facts) !== negative) };
}

function ofRequest(
  field: string,
  values: readonly string[],
  negative: boolean,
  hits: (http: HttpRequestFacts) => boolean,
): Literal | undefined {
  if (values.length === 0) return undefined;
  return { field, values, test: ({ http }) => (http === undefined ? "later" : answer(hits(http) !== negative)) };
}

function anyPattern(patterns: readonly Pattern[], text: string): boolean {
  return patterns.some((pattern) => matchesPattern(pattern, text));
}

function principals(values: readonly string[]): PeerTest {
  const patterns = values.map(parsePrincipal);
  return ({ names }) => names.some(({ principal }) => anyPattern(patterns, principal));
}

function serviceAccounts(values: readonly string[], namespace: string): PeerTest {
  const accounts = new Set(values.map((value) => qualifiedAccount(value, namespace)));
  return ({ serviceAccount }) => accounts.has(serviceAccount);
}

export function qualifiedAccount(value: string, namespace: string): string {
  return value.includes("/") ? value : `${namespace}/${value}`;
}

function namespaces(values: readonly string[]): PeerTest {
  const patterns = values.map(parsePattern);
  return (peer) => anyPattern(patterns, peer.namespace);
}

function trustDomains(values: readonly string[]): PeerTest {
  const patterns = values.map(parsePattern);
  return ({ names }) => names.some(({ trustDomain }) => anyPattern(patterns, trustDomain));
}

function blocks(values: readonly string[], address: (facts: Facts) => readonly number[]): FactsTest {
  const cidrs = values.map(parseCidr).filter((cidr): cidr is Cidr => cidr !== undefined);
  return (facts) => cidrs.some((cidr) => cidrContains(cidr, address(facts)));
}

function ports(values: readonly string[]): FactsTest {
  const numbers = new Set(values.map(Number));
  return ({ port }) => numbers.has(port);
}

const source = (facts: Facts): readonly number[] => facts.source;

function compileSource(from: AuthorizationSource, namespace: string, at: string): Literal[] {
  // No proxy is trusted to speak for others, and sources are preserved: the remote address is the connection's.
  return literals(
    ofPeer(`${at}.principals`, from.principals, false, principals(from.principals)),
    ofPeer(`${at}.notPrincipals`, from.notPrincipals, true, principals(from.notPrincipals)),
    ofPeer(`${at}.serviceAccounts`, from.serviceAccounts, false, serviceAccounts(from.serviceAccounts, namespace)),
    ofPeer(
      `${at}.notServiceAccounts`,
      from.notServiceAccounts,
      true,
      serviceAccounts(from.notServiceAccounts, namespace),
    ),
    ofPeer(`${at}.namespaces`, from.namespaces, false, namespaces(from.namespaces)),
    ofPeer(`${at}.notNamespaces`, from.notNamespaces, true, namespaces(from.notNamespaces)),
    ofPeer(`${at}.trustDomains`, from.trustDomains, false, trustDomains(from.trustDomains)),
    ofPeer(`${at}.notTrustDomains`, from.notTrustDomains, true, trustDomains(from.notTrustDomains)),
    ofConnection(`${at}.ipBlocks`, from.ipBlocks, false, blocks(from.ipBlocks, source)),
    ofConnection(`${at}.notIpBlocks`, from.notIpBlocks, true, blocks(from.notIpBlocks, source)),
    ofConnection(`${at}.remoteIpBlocks`, from.remoteIpBlocks, false, blocks(from.remoteIpBlocks, source)),
    ofConnection(`${at}.notRemoteIpBlocks`, from.notRemoteIpBlocks, true, blocks(from.notRemoteIpBlocks, source)),
  );
}

function compileOperation(to: AuthorizationOperation, at: string): Literal[] {
  return literals(
    ofConnection(`${at}.ports`, to.ports, false, ports(to.ports)),
    ofConnection(`${at}.notPorts`, to.notPorts, true, ports(to.notPorts)),
    ofRequest(`${at}.hosts`, to.hosts, false, hosts(to.hosts)),
    ofRequest(`${at}.notHosts`, to.notHosts, true, hosts(to.notHosts)),
    ofRequest(`${at}.methods`, to.methods, false, methods(to.methods)),
    ofRequest(`${at}.notMethods`, to.notMethods, true, methods(to.notMethods)),
    ofRequest(`${at}.paths`, to.paths, false, paths(to.paths)),
    ofRequest(`${at}.notPaths`, to.notPaths, true, paths(to.notPaths)),
  );
}

/** Hosts are compared without case, with the port and without it, and a fully qualified name is the same name. */
function hosts(values: readonly string[]): (http: HttpRequestFacts) => boolean {
  const patterns = values.map((value) => parsePattern(value.toLowerCase()));
  return ({ host }) => {
    const bare = host.replace(/:\d*$/, "");
    return anyPattern(patterns, host) || anyPattern(patterns, bare) || anyPattern(patterns, bare.replace(/\.$/, ""));
  };
}

function methods(values: readonly string[]): (http: HttpRequestFacts) => boolean {
  const patterns = values.map(parsePattern);
  return ({ method }) => anyPattern(patterns, method);
}

function paths(values: readonly string[]): (http: HttpRequestFacts) => boolean {
  const tests = values.map((value): ((path: string) => boolean) => {
    if (isPathTemplate(value)) return compilePathTemplate(value);
    const pattern = parsePattern(value);
    return (path) => matchesPattern(pattern, path);
  });
  return ({ path }) => tests.some((test) => test(path));
}

function compileCondition(condition: AuthorizationCondition, namespace: string, at: string): Literal[] {
  const { key, values, notValues } = condition;
  const named = `${at} ${key}`;
  const header = headerOfKey(key);
  if (header !== undefined) return literals(ofHeader(named, header, values), notOfHeader(named, header, notValues));
  const both = (make: (field: string, list: readonly string[], negative: boolean) => Literal | undefined): Literal[] =>
    literals(make(`${named} values`, values, false), make(`${named} notValues`, notValues, true));
  switch (key) {
    case "source.principal":
      return both((field, list, negative) => ofPeer(field, list, negative, principals(list)));
    case "source.namespace":
      return both((field, list, negative) => ofPeer(field, list, negative, namespaces(list)));
    case "source.serviceAccount":
      return both((field, list, negative) => ofPeer(field, list, negative, serviceAccounts(list, namespace)));
    case "source.trustDomain":
      return both((field, list, negative) => ofPeer(field, list, negative, trustDomains(list)));
    case "source.ip":
    case "remote.ip":
      return both((field, list, negative) => ofConnection(field, list, negative, blocks(list, source)));
    case "destination.ip":
      return both((field, list, negative) =>
        ofConnection(
          field,
          list,
          negative,
          blocks(list, ({ destination }) => destination),
        ),
      );
    case "destination.port":
      return both((field, list, negative) => ofConnection(field, list, negative, ports(list)));
    default:
      // Translation records such keys as problems, and a policy with problems is never matched; should one come all the same, it
      // has no sure answer.
      return [{ field: named, values: [...values, ...notValues], test: (_facts, sure) => answer(!sure) }];
  }
}

/** A header sent twice is one thing to one server and another to the next: surely matching means every value does. */
function ofHeader(field: string, name: string, values: readonly string[]): Literal | undefined {
  if (values.length === 0) return undefined;
  const hits = headerTest(values);
  return {
    field: `${field} values`,
    values,
    test: ({ http }, sure) => {
      if (http === undefined) return "later";
      const sent = http.header(name);
      if (sent.length === 0) return "no";
      return answer(sure ? sent.every(hits) : sent.some(hits) || hits(sent.join(",")));
    },
  };
}

function notOfHeader(field: string, name: string, values: readonly string[]): Literal | undefined {
  if (values.length === 0) return undefined;
  const hits = headerTest(values);
  return {
    field: `${field} notValues`,
    values,
    test: ({ http }, sure) => {
      if (http === undefined) return "later";
      const sent = http.header(name);
      if (sent.length === 0) return "yes";
      return answer(!(sure ? sent.some(hits) || hits(sent.join(",")) : sent.every(hits)));
    },
  };
}

function headerTest(values: readonly string[]): (value: string) => boolean {
  const patterns = values.map(parsePattern);
  return (value) => patterns.some((pattern) => pattern.kind === "presence" || matchesPattern(pattern, value));
}
