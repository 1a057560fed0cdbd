/**
 * Links certificates: from a leaf through the intermediates that came with it to a trusted root (RFC 5280 §6, without policies).
 * Names, dates and signatures are OpenSSL's judgement; the order of the intermediates does not matter.
 */
import type { X509Certificate } from "node:crypto";

/** TLS peers send two or three certificates; more is somebody trying our patience. */
const longestChain = 8;

export type ChainResult =
  | { readonly kind: "chain"; readonly chain: readonly X509Certificate[] }
  | { readonly kind: "broken"; readonly detail: string };

/** The way from `leaf` to one of `roots`, both included. `at` is Unix time in milliseconds. */
export function findChain(
  leaf: X509Certificate,
  intermediates: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  at: number,
): ChainResult {
  const outOfDate = datesProblem(leaf, at);
  if (outOfDate !== undefined) return { kind: "broken", detail: outOfDate };
  let why = "no trusted root has signed it";
  const extend = (chain: readonly X509Certificate[]): readonly X509Certificate[] | undefined => {
    const last = chain.at(-1);
    if (last === undefined || chain.length > longestChain) return undefined;
    if (chain.length > 1 && roots.some((root) => root.raw.equals(last.raw))) return chain;
    for (const issuer of [...roots, ...intermediates]) {
      if (chain.some((seen) => seen.raw.equals(issuer.raw))) continue;
      if (!last.checkIssued(issuer) || !last.verify(issuer.publicKey)) continue;
      const problem = issuer.ca ? datesProblem(issuer, at) : "its issuer is not a certificate authority";
      if (problem !== undefined) {
        why = problem;
        continue;
      }
      const found = extend([...chain, issuer]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const chain = extend([leaf]);
  return chain === undefined ? { kind: "broken", detail: why } : { kind: "chain", chain };
}

/** Why a certificate does not hold now, if so. */
export function datesProblem(certificate: X509Certificate, at: number): string | undefined {
  const who = certificate.ca ? "an authority's certificate" : "the certificate";
  if (at < certificate.validFromDate.getTime()) {
    return `${who} is not valid before ${certificate.validFromDate.toISOString()}; compare the clocks`;
  }
  if (at > certificate.validToDate.getTime()) return `${who} expired at ${certificate.validToDate.toISOString()}`;
  return undefined;
}
