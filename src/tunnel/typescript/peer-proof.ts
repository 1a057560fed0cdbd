/**
 * Who the other end of a TLS connection proved to be. OpenSSL has verified the chain, its dates and the extended key usage
 * (`ssl_client` and `ssl_server` purposes); here the SPIFFE id, the trust domain, revocation and the expected identities follow.
 */
import { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import { isRevoked, type RevocationList } from "../../identity/revocation-list.ts";
import { identityOfNames, trustDomainOf } from "../../identity/spiffe.ts";
import type { Identity } from "../../model/identity.ts";
import type { Reason } from "../../model/reason.ts";

export interface PeerProof {
  readonly identity: Identity;
  /** Leaf first, root last: kept to be judged again when a new CRL arrives. */
  readonly chain: readonly X509Certificate[];
}

/** What a credential says about peers, apart from the trusted roots. */
export interface TrustRules {
  readonly trustDomains: ReadonlySet<string>;
  readonly denied: ReadonlySet<Identity>;
  readonly revocationLists: readonly RevocationList[];
}

export type PeerVerdict =
  | { readonly kind: "proven"; readonly proof: PeerProof }
  | { readonly kind: "refused"; readonly reason: Reason; readonly detail: string };

/** `expected` is undefined for clients of ours: any identity of our trust domains may call, policy judges it later. */
export function judgePeer(
  socket: TLSSocket,
  rules: TrustRules,
  expected: ReadonlySet<Identity> | undefined,
): PeerVerdict {
  const chain = verifiedChain(socket);
  const [leaf] = chain;
  const root = chain.at(-1);
  // Without the whole chain nobody could say that none of it is revoked.
  if (leaf === undefined || root?.checkIssued(root) !== true) return refused("tls-failed", "the chain is not complete");
  const identity = identityOfNames(leaf.subjectAltName);
  if (identity === undefined) return refused("identity-mismatch", "the certificate proves no SPIFFE id");
  if (!rules.trustDomains.has(trustDomainOf(identity))) {
    return refused("identity-mismatch", `${identity} is of a trust domain that is not ours`);
  }
  if (expected !== undefined && !expected.has(identity)) {
    return refused("identity-mismatch", `${identity} is not the expected identity`);
  }
  const proof = { identity, chain };
  return revoked(proof, rules) ? refused("certificate-revoked", `${identity} is revoked`) : { kind: "proven", proof };
}

/** True if the peer is denied by name or any certificate of its chain is revoked. */
export function revoked(proof: PeerProof, rules: TrustRules): boolean {
  return rules.denied.has(proof.identity) || isRevoked(proof.chain, rules.revocationLists);
}

/** Node links each certificate to its issuer, the root from our own bundle last; a root links to itself. */
function verifiedChain(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined) {
    chain.push(new X509Certificate(next.raw));
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate;
  }
  return chain;
}

function refused(reason: Reason, detail: string): PeerVerdict {
  return { kind: "refused", reason, detail };
}
