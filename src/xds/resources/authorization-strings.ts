/**
 * String values of policies as Istio's StringMatch. Here a policy may write any of the mesh's own trust domains, or `cluster.local`, for
 * all of them; there a principal is compared as it stands, so each is written out.
 */
import { create } from "@bufbuild/protobuf";
import type { MeshSettings } from "../../model/mesh.ts";
import { type Pattern, parsePattern, parsePrincipal } from "../../policy/authorization/pattern.ts";
import { type StringMatch, StringMatchSchema } from "../gen/istio/security/authorization_pb.ts";

type TrustSettings = Pick<MeshSettings, "trustDomain" | "trustDomainAliases">;

export function stringMatch(pattern: Pattern): StringMatch {
  return create(StringMatchSchema, {
    matchType:
      pattern.kind === "presence" ? { case: "presence", value: {} } : { case: pattern.kind, value: pattern.text },
  });
}

/** Undefined when there are no words for it. */
export function principalMatches(value: string, settings: TrustSettings): readonly StringMatch[] | undefined {
  const pattern = parsePrincipal(value);
  switch (pattern.kind) {
    case "presence":
      return [stringMatch(pattern)];
    case "suffix":
      // A suffix that reaches into the trust domain would have to be compared with names that are never sent.
      return /[^/]\/ns\//.test(pattern.text) ? undefined : [stringMatch(pattern)];
    case "exact":
    case "prefix": {
      const { kind, text } = pattern;
      const slash = text.indexOf("/");
      if (slash === -1) return kind === "exact" ? [stringMatch(pattern)] : domainPrefixes(text, settings);
      const domains = spellings(text.slice(0, slash), settings);
      return domains.map((domain) => stringMatch({ kind, text: domain + text.slice(slash) }));
    }
  }
}

/** Trust domains as what principals begin with; undefined when there are no words for it. */
export function trustDomainMatches(value: string, settings: TrustSettings): readonly StringMatch[] | undefined {
  const pattern = parsePattern(value);
  switch (pattern.kind) {
    case "presence":
      return [stringMatch(pattern)];
    case "suffix":
      return undefined;
    case "exact":
      return spellings(pattern.text, settings).map((domain) => stringMatch({ kind: "prefix", text: `${domain}/` }));
    case "prefix":
      return domainPrefixes(pattern.text, settings);
  }
}

function ownNames({ trustDomain, trustDomainAliases }: TrustSettings): readonly string[] {
  return [...new Set([trustDomain, ...trustDomainAliases])];
}

/** All that a policy means which writes this trust domain. */
function spellings(domain: string, settings: TrustSettings): readonly string[] {
  const own = ownNames(settings);
  return domain === "cluster.local" || own.includes(domain) ? [...new Set([domain, ...own])] : [domain];
}

function domainPrefixes(text: string, settings: TrustSettings): readonly StringMatch[] {
  const own = ownNames(settings);
  const meansOwn = [...own, "cluster.local"].some((domain) => domain.startsWith(text));
  const others = meansOwn ? own.filter((domain) => !domain.startsWith(text)).map((domain) => `${domain}/`) : [];
  return [text, ...others].map((prefix) => stringMatch({ kind: "prefix", text: prefix }));
}
