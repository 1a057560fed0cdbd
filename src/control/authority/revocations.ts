/** What is revoked, as pure changes of the state; lists are signed anew by every issuer whose work may still be in use. */
import "reflect-metadata";
import { KeyUsageFlags, KeyUsagesExtension, type X509Certificate } from "@peculiar/x509";
import type { Identity } from "../../model/identity.ts";
import type { AuthorityState, Issuer, KeyedCertificate, RevokedSerial } from "./authority-state.ts";
import { writeCrl } from "./crl-writer.ts";
import { readSigner } from "./signer.ts";

/**
 * No configuration lets a workload's certificate last longer. An entry is kept this long: what it names has expired then, whatever the
 * lifetime was when it was issued.
 */
export const longestLeafMs = 90 * 86_400_000;

/** Serial numbers as people copy them: any case, colons, spaces, leading zeros. Undefined for anything else. */
export function normalSerial(text: string): string | undefined {
  const digits = text.replaceAll(/[\s:]/g, "").toLowerCase().replace(/^0x/, "");
  if (!/^[0-9a-f]{1,40}$/.test(digits)) return undefined;
  const short = digits.replace(/^0+(?=.)/, "");
  return short.length % 2 === 0 ? short : `0${short}`;
}

/** With these serials revoked too; those known already keep their date. */
export async function withRevoked(
  state: AuthorityState,
  serials: readonly string[],
  now: number,
): Promise<AuthorityState> {
  const known = new Set(state.revocations.serials.map(({ serial }) => serial));
  const fresh = [...new Set(serials)].filter((serial) => !known.has(serial));
  if (fresh.length === 0) return state;
  const added = fresh.map((serial): RevokedSerial => ({ serial, at: now, until: now + longestLeafMs }));
  return await withLists(state, [...state.revocations.serials, ...added], now);
}

export function withDenied(state: AuthorityState, identities: readonly Identity[], now: number): AuthorityState {
  const known = new Set(state.revocations.identities.map(({ identity }) => identity));
  const fresh = [...new Set(identities)].filter((identity) => !known.has(identity));
  if (fresh.length === 0) return state;
  const all = [...state.revocations.identities, ...fresh.map((identity) => ({ identity, at: now }))];
  return { ...state, revocations: { ...state.revocations, identities: all } };
}

export function withoutDenied(state: AuthorityState, identities: readonly Identity[]): AuthorityState {
  const left = state.revocations.identities.filter(({ identity }) => !identities.includes(identity as Identity));
  if (left.length === state.revocations.identities.length) return state;
  return { ...state, revocations: { ...state.revocations, identities: left } };
}

/** With the lists signed by the issuers of now: call after an issuer came. Nothing revoked, no lists. */
export async function withSignedLists(state: AuthorityState, now: number): Promise<AuthorityState> {
  return state.revocations.serials.length === 0 ? state : await withLists(state, state.revocations.serials, now);
}

/** Without what can be forgotten: entries and former issuers whose time is over. The same object when there is nothing to do. */
export async function withoutExpired(state: AuthorityState, now: number): Promise<AuthorityState> {
  const former = state.former.filter(({ until }) => until > now);
  const serials = state.revocations.serials.filter(({ until }) => until > now);
  if (serials.length < state.revocations.serials.length) return await withLists({ ...state, former }, serials, now);
  return former.length < state.former.length ? { ...state, former } : state;
}

async function withLists(
  state: AuthorityState,
  serials: readonly RevokedSerial[],
  now: number,
): Promise<AuthorityState> {
  const crlNumber = state.revocations.crlNumber + 1;
  const issuers = serials.length === 0 ? [] : crlIssuers(state);
  const lists = await Promise.all(issuers.map((issuer) => writeCrl(issuer, crlNumber, serials, now)));
  return { ...state, revocations: { ...state.revocations, serials, crlNumber, lists: lists.join("") } };
}

/** Who may have signed something that is in use, and can say so: intermediates of now and before, and the roots that signed those. */
function crlIssuers({ issuer, former, rotation }: AuthorityState) {
  const current = rotation === undefined ? [issuer] : [issuer, rotation.other];
  const keyed = [...current.flatMap(keysOf), ...former];
  const signers = keyed.map((one) => readSigner(one, "issuer"));
  const seen = new Set<string>();
  return signers.filter(({ certificate }) => {
    const known = seen.has(certificate.serialNumber);
    seen.add(certificate.serialNumber);
    return !known && signsLists(certificate);
  });
}

function keysOf({ intermediate, roots, rootKey }: Issuer): KeyedCertificate[] {
  return rootKey === "" ? [intermediate] : [intermediate, { certificate: roots, key: rootKey }];
}

/** Without the key usage *CRL sign* no verifier takes its lists (RFC 5280 §6.3.3 f); Istio's sample for plug-in certificates leaves it out. */
export function signsLists(certificate: X509Certificate): boolean {
  const usage = certificate.getExtension(KeyUsagesExtension);
  return usage === null || (usage.usages & KeyUsageFlags.cRLSign) !== 0;
}
