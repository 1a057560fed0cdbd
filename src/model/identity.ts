/** A SPIFFE id as text, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`; made only by `identity/spiffe.ts`. */
export type Identity = string & { readonly __identity: true };

/** The parts of a workload's SPIFFE id. */
export interface IdentityParts {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}
