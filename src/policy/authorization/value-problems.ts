/**
 * Values of AuthorizationPolicies that cannot be evaluated: ports and blocks that don't parse, keys and fields that ask about things
 * a node proxy doesn't know (JWTs, SNI), templates that Istio forbids. Each problem names the field and what to do.
 */
import { parseCidr } from "../../lib/ip.ts";
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationRule,
  AuthorizationSource,
} from "../../model/authorization.ts";
import { pathTemplateProblem } from "./path-template.ts";

export interface ValueProblem {
  readonly field: string;
  readonly message: string;
}

/** Problems of a policy's rules; fields are written as in the object, `spec.rules[0].from[0].source.ipBlocks[1]`. */
export function valueProblems(rules: readonly AuthorizationRule[]): ValueProblem[] {
  return rules.flatMap((rule, index) => {
    const at = `spec.rules[${index}]`;
    return [
      ...rule.from.flatMap((source, entry) => sourceProblems(source, `${at}.from[${entry}].source`)),
      ...rule.to.flatMap((operation, entry) => operationProblems(operation, `${at}.to[${entry}].operation`)),
      ...rule.when.flatMap((condition, entry) => conditionProblems(condition, `${at}.when[${entry}]`)),
    ];
  });
}

type Check = (value: string) => string | undefined;

function checkAll(values: readonly string[], field: string, check: Check): ValueProblem[] {
  return values.flatMap((value, index) => {
    const message = check(value);
    return message === undefined ? [] : [{ field: `${field}[${index}]`, message }];
  });
}

const cidr: Check = (value) =>
  parseCidr(value) === undefined ? `${JSON.stringify(value)} is not an IP address or CIDR block` : undefined;

const port: Check = (value) =>
  /^[1-9]\d{0,4}$/.test(value) && Number(value) <= 65535
    ? undefined
    : `${JSON.stringify(value)} is not a port of 1 to 65535`;

/** One asterisk, first or last; others would be taken literally, which nobody means. */
const pattern: Check = (value) =>
  value !== "*" && value.slice(1, -1).includes("*")
    ? `${JSON.stringify(value)} has an asterisk inside: only a leading or a trailing one is a wildcard`
    : value.length > 1 && value.startsWith("*") && value.endsWith("*")
      ? `${JSON.stringify(value)} has two asterisks: only a leading or a trailing one is a wildcard`
      : undefined;

const serviceAccount: Check = (value) =>
  /^(?:[a-z0-9][-a-z0-9]*\/)?[a-z0-9][-a-z0-9.]*$/.test(value)
    ? undefined
    : `${JSON.stringify(value)} is neither "namespace/account" nor "account"; wildcards are not allowed`;

const trustDomain: Check = (value) =>
  value.includes("/") ? `${JSON.stringify(value)} is not a trust domain: it has a "/"` : pattern(value);

const path: Check = (value) => pathTemplateProblem(value) ?? (value.includes("{") ? undefined : pattern(value));

const jwt = "asks for a JWT, which Warren doesn't verify; use principals, or leave it to a gateway";

function sourceProblems(source: AuthorizationSource, at: string): ValueProblem[] {
  const named = source.serviceAccounts.length + source.notServiceAccounts.length > 0;
  const others =
    source.principals.length + source.notPrincipals.length + source.namespaces.length + source.notNamespaces.length;
  return [
    ...checkAll(source.principals, `${at}.principals`, pattern),
    ...checkAll(source.notPrincipals, `${at}.notPrincipals`, pattern),
    ...checkAll(source.serviceAccounts, `${at}.serviceAccounts`, serviceAccount),
    ...checkAll(source.notServiceAccounts, `${at}.notServiceAccounts`, serviceAccount),
    ...checkAll(source.namespaces, `${at}.namespaces`, pattern),
    ...checkAll(source.notNamespaces, `${at}.notNamespaces`, pattern),
    ...checkAll(source.trustDomains, `${at}.trustDomains`, trustDomain),
    ...checkAll(source.notTrustDomains, `${at}.notTrustDomains`, trustDomain),
    ...checkAll(source.ipBlocks, `${at}.ipBlocks`, cidr),
    ...checkAll(source.notIpBlocks, `${at}.notIpBlocks`, cidr),
    ...checkAll(source.remoteIpBlocks, `${at}.remoteIpBlocks`, cidr),
    ...checkAll(source.notRemoteIpBlocks, `${at}.notRemoteIpBlocks`, cidr),
    ...checkAll(source.requestPrincipals, `${at}.requestPrincipals`, () => jwt),
    ...checkAll(source.notRequestPrincipals, `${at}.notRequestPrincipals`, () => jwt),
    ...(named && others > 0
      ? [{ field: `${at}.serviceAccounts`, message: "cannot stand beside principals or namespaces" }]
      : []),
  ];
}

function operationProblems(operation: AuthorizationOperation, at: string): ValueProblem[] {
  return [
    ...checkAll(operation.ports, `${at}.ports`, port),
    ...checkAll(operation.notPorts, `${at}.notPorts`, port),
    ...checkAll(operation.hosts, `${at}.hosts`, pattern),
    ...checkAll(operation.notHosts, `${at}.notHosts`, pattern),
    ...checkAll(operation.methods, `${at}.methods`, pattern),
    ...checkAll(operation.notMethods, `${at}.notMethods`, pattern),
    ...checkAll(operation.paths, `${at}.paths`, path),
    ...checkAll(operation.notPaths, `${at}.notPaths`, path),
  ];
}

/** Keys of `when` and how their values are read. */
const conditionChecks: Readonly<Record<string, Check>> = {
  "source.ip": cidr,
  "remote.ip": cidr,
  "source.namespace": pattern,
  "source.principal": pattern,
  "source.serviceAccount": serviceAccount,
  "source.trustDomain": trustDomain,
  "destination.ip": cidr,
  "destination.port": port,
};

function conditionProblems({ key, values, notValues }: AuthorizationCondition, at: string): ValueProblem[] {
  if (values.length + notValues.length === 0) {
    return [{ field: at, message: "has neither values nor notValues" }];
  }
  const check = headerOfKey(key) === undefined ? conditionCheck(key) : pattern;
  if (check === undefined) {
    const why = key.startsWith("request.auth.")
      ? jwt
      : key === "connection.sni"
        ? "a tunnel carries no SNI"
        : "unknown";
    return [{ field: `${at}.key`, message: `${JSON.stringify(key)} cannot be evaluated: ${why}` }];
  }
  return [...checkAll(values, `${at}.values`, check), ...checkAll(notValues, `${at}.notValues`, check)];
}

function conditionCheck(key: string): Check | undefined {
  return Object.hasOwn(conditionChecks, key) ? conditionChecks[key] : undefined;
}

/** The lower-case header name of `request.headers[Name]`; undefined for other keys and for names that no header can have. */
export function headerOfKey(key: string): string | undefined {
  const name = /^request\.headers\[([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\]$/.exec(key)?.[1];
  return name?.toLowerCase();
}
