/** A SPIFFE id as text, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`; made only by `identity/spiffe.ts`. */
export type Identity = string & { readonly __identity: true };

/** The parts of a workload's SPIFFE id. */
export interface IdentityParts {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const scheme = "spiffe://";

/** The parts of an identity; its form was checked when it was made. */
export function identityParts(identity: Identity): IdentityParts {
  const [trustDomain = "", , namespace = "", , serviceAccount = ""] = identity.slice(scheme.length).split("/");
  return { trustDomain, namespace, serviceAccount };
}

/**
 * The identity and what it is called in the mesh's other trust domains, which mean the same: itself first. An identity of a stranger's
 * domain is only itself.
 */
export function equivalentIdentities(
  identity: Identity,
  {
    trustDomain: own,
    trustDomainAliases,
  }: { readonly trustDomain: string; readonly trustDomainAliases: readonly string[] },
): readonly Identity[] {
  const domains = [own, ...trustDomainAliases];
  const { trustDomain, namespace, serviceAccount } = identityParts(identity);
  if (trustDomainAliases.length === 0 || !domains.includes(trustDomain)) return [identity];
  const same = domains.map((domain) => `${scheme}${domain}/ns/${namespace}/sa/${serviceAccount}` as Identity);
  return [...new Set([identity, ...same])];
}
