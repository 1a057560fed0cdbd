/** Lints that look at a policy's rules alone. */
import type { AuthorizationPolicy, AuthorizationRule, AuthorizationSource } from "../model/authorization.ts";
import type { MeshSettings } from "../model/mesh.ts";
import { asksHttp } from "./authorization/compile-rule.ts";
import type { LintCode } from "./lint-codes.ts";

/** Code, severity, field, message. */
export type Found = [code: LintCode, severity: "error" | "warning" | "note", field: string, message: string];

export function lintRules(policy: AuthorizationPolicy, settings: MeshSettings): Found[] {
  const recorded = policy.dryRun || policy.action === "AUDIT";
  return policy.rules.flatMap((rule, index) => {
    const at = `spec.rules[${index}]`;
    const http = asksHttp(rule);
    return [
      ...principalsOf(rule, at).flatMap(([field, value]) => lintPrincipal(field, value, settings)),
      ...rule.from.flatMap((source, entry) => lintSource(policy, source, `${at}.from[${entry}].source`)),
      ...(policy.action === "DENY" && !recorded && http && onlyHttp(rule) ? [deniesOnlyHttp(at)] : []),
      ...(recorded && http ? [recordsHttp(at)] : []),
    ];
  });
}

function principalsOf(rule: AuthorizationRule, at: string): [field: string, value: string][] {
  const sources = rule.from.flatMap((source, entry) =>
    (["principals", "notPrincipals"] as const).flatMap((name) =>
      source[name].map((value, index): [string, string] => [`${at}.from[${entry}].source.${name}[${index}]`, value]),
    ),
  );
  const conditions = rule.when.flatMap(({ key, values, notValues }, entry) =>
    key === "source.principal"
      ? [...values, ...notValues].map((value): [string, string] => [`${at}.when[${entry}]`, value])
      : [],
  );
  return [...sources, ...conditions];
}

function lintPrincipal(field: string, value: string, settings: MeshSettings): Found[] {
  const found: Found[] = [];
  const bare = value.replace(/^spiffe:\/\//, "");
  if (bare !== value) {
    const message = `write ${JSON.stringify(bare)}: Warren reads both alike, other meshes never match the scheme`;
    found.push(["WP103", "note", field, message]);
  }
  const [trustDomain = ""] = bare.split("/");
  const own = [settings.trustDomain, ...settings.trustDomainAliases, "cluster.local"];
  if (bare.includes("/") && !trustDomain.includes("*") && !own.includes(trustDomain)) {
    const message = `no peer can prove an identity of ${trustDomain}: the mesh trusts ${own.slice(0, -1).join(", ")}`;
    found.push(["WP104", "warning", field, message]);
  }
  return found;
}

function lintSource(policy: AuthorizationPolicy, source: AuthorizationSource, at: string): Found[] {
  const found: Found[] = [];
  const negative = [source.notPrincipals, source.notNamespaces, source.notServiceAccounts, source.notTrustDomains];
  if (policy.action === "ALLOW" && !asksIdentity(source) && negative.some((values) => values.length > 0)) {
    const message = 'Warren lets no plaintext client in by it, other meshes do; add principals: ["*"] to mean the same';
    found.push(["WP105", "note", at, message]);
  }
  for (const name of ["remoteIpBlocks", "notRemoteIpBlocks"] as const) {
    if (source[name].length === 0) continue;
    const message = "no proxy is trusted to name other clients, so this equals ipBlocks; X-Forwarded-For is not read";
    found.push(["WP113", "note", `${at}.${name}`, message]);
  }
  return found;
}

/** The source can't match without an identity. */
export function asksIdentity(source: AuthorizationSource): boolean {
  return [source.principals, source.namespaces, source.serviceAccounts, source.trustDomains].some(
    (values) => values.length > 0,
  );
}

/** Nothing but requests decides the rule. */
function onlyHttp(rule: AuthorizationRule): boolean {
  return (
    rule.from.length === 0 &&
    rule.to.every(({ ports, notPorts }) => ports.length + notPorts.length === 0) &&
    rule.when.every(({ key }) => key.startsWith("request.headers"))
  );
}

function deniesOnlyHttp(at: string): Found {
  const message =
    "every port of the workload is read as HTTP because of it, and what isn't HTTP is refused; name the HTTP ports in to.operation.ports";
  return ["WP109", "warning", at, message];
}

function recordsHttp(at: string): Found {
  const message =
    "reading requests only to record them would refuse what isn't HTTP, so it is recorded where an enforced policy has them read";
  return ["WP116", "note", at, message];
}
