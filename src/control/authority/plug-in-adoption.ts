/** How plug-in certificates come into force, as a pure change of the state: at once where agents can't tell, else by a rotation. */
import { X509Certificate } from "node:crypto";
import { pemBlocks } from "../../lib/pem.ts";
import type { AuthorityState, Issuer } from "./authority-state.ts";
import { longestLeafMs, withSignedLists } from "./revocations.ts";
import { begin } from "./root-rotation.ts";

/** The same state when there is nothing to do, or another rotation must end first. */
export async function adoptIssuer(state: AuthorityState, given: Issuer, now: number): Promise<AuthorityState> {
  const { issuer, rotation } = state;
  if (sameIssuer(given, issuer)) {
    // Put back what still issues: the rotation to something else has done nothing yet that could not be undone.
    return rotation?.phase === "trust" ? await withSignedLists({ ...state, rotation: undefined }, now) : state;
  }
  if (rotation === undefined) {
    if (keepsRoots(issuer, given)) return await replaced(state, given, now);
    return await withSignedLists(begin(state, given, now), now);
  }
  if (rotation.phase === "issue") return state;
  if (sameIssuer(given, rotation.other)) return state;
  // Nothing was issued from what was to come: agents begin to trust this one instead.
  return await withSignedLists(begin({ ...state, rotation: undefined }, given, now), now);
}

/** Under the same issuing root, with every root that was trusted before: no agent can have a certificate that it would not know. */
function keepsRoots(before: Issuer, after: Issuer): boolean {
  const [old, fresh] = [fingerprints(before.roots), fingerprints(after.roots)];
  return old[0] === fresh[0] && old.every((root) => fresh.includes(root));
}

async function replaced(state: AuthorityState, given: Issuer, now: number): Promise<AuthorityState> {
  const { intermediate } = state.issuer;
  const ends = new X509Certificate(intermediate.certificate).validToDate.getTime();
  const until = Math.min(ends, now + longestLeafMs);
  const renewed = intermediate.certificate !== given.intermediate.certificate;
  const former = renewed ? [...state.former, { ...intermediate, until }] : state.former;
  return await withSignedLists({ ...state, issuer: given, former }, now);
}

function sameIssuer(one: Issuer, other: Issuer): boolean {
  return (
    one.intermediate.certificate === other.intermediate.certificate &&
    one.chain === other.chain &&
    one.crl === other.crl &&
    fingerprints(one.roots).join() === fingerprints(other.roots).join()
  );
}

function fingerprints(roots: string): string[] {
  return pemBlocks(roots, "CERTIFICATE").map((pem) => new X509Certificate(pem).fingerprint256);
}
