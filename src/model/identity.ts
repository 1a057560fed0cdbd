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
