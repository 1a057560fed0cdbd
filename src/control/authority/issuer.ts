/** An issuer ready to sign: read from the state and checked, or made anew. What would make every agent refuse its work is found here. */
import { X509Certificate as NodeCertificate, randomBytes } from "node:crypto";
import { pemBlocks } from "../../lib/pem.ts";
import type { Issuer, KeyedCertificate } from "./authority-state.ts";
import { type Validity, writeIntermediate, writeRoot } from "./certificate-writer.ts";
import { newKeys, readSigner, type Signer, signerText, unusableSigner } from "./signer.ts";

export interface ReadyIssuer {
  readonly intermediate: Signer;
  /** Undefined for a plug-in, whose root's key is elsewhere. */
  readonly root: Signer | undefined;
  /** PEM of what is sent behind a leaf: the intermediate and what leads from it to the root. */
  readonly path: readonly string[];
  /** PEM; the first is the one that the path leads to. */
  readonly roots: readonly string[];
  /** SHA-256 of the first root, hexadecimal, lower case. */
  readonly rootFingerprint: string;
  /** Unix time in milliseconds at which the root ends. */
  readonly rootEnds: number;
}

export interface IssuerLifetimes {
  readonly trustDomain: string;
  readonly rootLifetimeMs: number;
  readonly intermediateLifetimeMs: number;
  readonly backdateMs: number;
}

/** Throws MESH_AUTHORITY_UNUSABLE. `now` is Unix time in milliseconds. */
export async function readIssuer(issuer: Issuer, now: number): Promise<ReadyIssuer> {
  const intermediate = readSigner(issuer.intermediate, "intermediate");
  const roots = pemBlocks(issuer.roots, "CERTIFICATE");
  const [first] = roots;
  if (first === undefined) throw unusableSigner("root", "there is none");
  const certificate = new NodeCertificate(first);
  const root = issuer.rootKey === "" ? undefined : readSigner({ certificate: first, key: issuer.rootKey }, "root");
  if (root !== undefined) {
    if (!(await root.certificate.verify({ date: new Date(now) })))
      throw unusableSigner("root", "it is not self-signed, or not valid now");
    const { publicKey } = root.certificate;
    if (!(await intermediate.certificate.verify({ publicKey, signatureOnly: true })))
      throw unusableSigner("intermediate", "the root has not signed it");
  }
  return {
    intermediate,
    root,
    path: pathOf(issuer),
    roots,
    rootFingerprint: fingerprintOf(certificate),
    rootEnds: certificate.validToDate.getTime(),
  };
}

/** PEM; expired ones prove nothing. */
export function rootsInForce({ roots }: Issuer, now: number): string[] {
  return pemBlocks(roots, "CERTIFICATE").filter((pem) => new NodeCertificate(pem).validToDate.getTime() > now);
}

export function fingerprintOf(certificate: NodeCertificate): string {
  return certificate.fingerprint256.replaceAll(":", "").toLowerCase();
}

/** A root and an intermediate of our own. */
export async function makeIssuer(lifetimes: IssuerLifetimes, now: number): Promise<Issuer> {
  const { trustDomain, rootLifetimeMs, backdateMs } = lifetimes;
  const keys = await newKeys();
  const validity = { notBefore: now - backdateMs, notAfter: now + rootLifetimeMs };
  const certificate = await writeRoot(authorityName("Warren root", trustDomain, now), keys, validity);
  const root: Signer = { certificate, key: keys.privateKey, algorithm: { name: "ECDSA", hash: "SHA-256" } };
  const text = await signerText(root);
  return {
    origin: "self-signed",
    intermediate: await makeIntermediate(root, lifetimes, now),
    chain: "",
    roots: text.certificate,
    rootKey: text.key,
    crl: "",
  };
}

export async function makeIntermediate(
  root: Signer,
  { trustDomain, intermediateLifetimeMs, backdateMs }: IssuerLifetimes,
  now: number,
): Promise<KeyedCertificate> {
  const keys = await newKeys();
  const name = authorityName("Warren authority", trustDomain, now);
  const validity = validityUnder(root, now, intermediateLifetimeMs, backdateMs);
  const certificate = await writeIntermediate(name, keys.publicKey, root, validity);
  return await signerText({ certificate, key: keys.privateKey, algorithm: { name: "ECDSA", hash: "SHA-256" } });
}

/** Never longer than the issuer's: a chain is as good as its shortest link. */
export function validityUnder(issuer: Signer, now: number, lifetimeMs: number, backdateMs: number): Validity {
  const { notBefore, notAfter } = issuer.certificate;
  return {
    notBefore: Math.max(now - backdateMs, notBefore.getTime()),
    notAfter: Math.min(now + lifetimeMs, notAfter.getTime()),
  };
}

/** A plug-in's intermediate may be its root: then there is nothing to send but the leaf. */
function pathOf({ intermediate, chain, roots }: Issuer): string[] {
  const path = [...pemBlocks(intermediate.certificate, "CERTIFICATE"), ...pemBlocks(chain, "CERTIFICATE")];
  const known = new Set(pemBlocks(roots, "CERTIFICATE").map((pem) => new NodeCertificate(pem).fingerprint256));
  return path.filter((pem) => !known.has(new NodeCertificate(pem).fingerprint256));
}

/** Told apart by date for people and by a random part for verifiers, which look issuers up by name. */
function authorityName(what: string, trustDomain: string, now: number): string {
  return `CN=${what} ${new Date(now).toISOString().slice(0, 10)} ${randomBytes(3).toString("hex")}, O=${trustDomain}`;
}

/** `subject until date`, for logs. */
export function describeSigner({ certificate }: Signer): string {
  return `${certificate.subject} until ${certificate.notAfter.toISOString()}`;
}
