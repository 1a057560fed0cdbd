/**
 * Judges an authority's answer before anything uses it: ours is the key, the identity is the asked one, the chain reaches the root
 * that came with it, and it holds now. A wrong answer is an error of that attempt; the certificate in force stays.
 */
import type { X509Certificate } from "node:crypto";
import { MeshError } from "../lib/errors.ts";
import type { Identity } from "../model/identity.ts";
import { certificateFacts, certificatesPem, readCertificates } from "./certificate.ts";
import { datesProblem, findChain } from "./certificate-chain.ts";
import { privateKeyPem, type WorkloadKey } from "./key.ts";

/** The public part: listings show it. */
export interface IssuedCertificate {
  readonly identity: Identity;
  /** PEM, leaf first, without the root. */
  readonly chain: string;
  /** PEM of every root that peers' certificates may lead to. */
  readonly trustBundle: string;
  readonly serial: string;
  /** Unix time in milliseconds. */
  readonly notBefore: number;
  /** Of the leaf, or of an issuer that ends earlier. */
  readonly notAfter: number;
  readonly issuer: string;
  readonly keyType: string;
}

/** What the TLS ends of one identity use. */
export interface CertificateMaterial extends IssuedCertificate {
  /** PKCS#8 PEM. Never logged, listed or written. */
  readonly privateKey: string;
  /** The root that the chain leads to, PEM, and its SHA-256 in hexadecimal. */
  readonly root: string;
  readonly rootFingerprint: string;
  /** PEM of every root that came with the certificate. */
  readonly offeredRoots: string;
}

/** `answer` as on the wire: leaf first, then intermediates, the root or all trusted roots in the last element. */
export function acceptIssued(
  answer: readonly string[],
  identity: Identity,
  key: WorkloadKey,
  now: number,
): CertificateMaterial {
  const rootsPem = answer.length > 1 ? (answer.at(-1) ?? "") : "";
  const [leaf, ...intermediates] = readCertificates(answer.slice(0, -1).join("\n"), "the authority's answer");
  const roots = readCertificates(rootsPem, "the authority's roots");
  if (leaf === undefined || roots.length === 0) {
    throw refused("has no certificate and root; is that address a certificate authority?");
  }
  const facts = certificateFacts(leaf);
  if (facts.identity !== identity) {
    throw refused(`is for ${facts.identity ?? "no workload"} instead of ${identity}`);
  }
  if (!leaf.checkPrivateKey(key.privateKey)) throw refused("is for another key than the one it was asked for");
  const found = findChain(leaf, intermediates, roots, now);
  if (found.kind === "broken") throw refused(`does not hold: ${found.detail}`);
  const sent = found.chain.slice(0, -1);
  const ends = found.chain.map((certificate) => certificate.validToDate.getTime());
  const root = found.chain.at(-1);
  if (root === undefined) throw refused("leads nowhere");
  const offeredRoots = certificatesPem(current(roots, now));
  return {
    identity,
    chain: certificatesPem(sent),
    privateKey: privateKeyPem(key),
    trustBundle: offeredRoots,
    offeredRoots,
    root: certificatesPem([root]),
    rootFingerprint: root.fingerprint256.replaceAll(":", "").toLowerCase(),
    serial: facts.serial,
    notBefore: facts.notBefore,
    notAfter: Math.min(...ends),
    issuer: facts.issuer,
    keyType: facts.keyType,
  };
}

/**
 * The material with the roots that the mesh was told to trust, PEM, instead of those that came with it; empty for the latter. Its own
 * root is always among them: who shares our authority is never a stranger.
 */
export function withTrustBundle(material: CertificateMaterial, told: string, now: number): CertificateMaterial {
  const trustBundle = told === "" ? material.offeredRoots : united(material.root, told, now);
  return trustBundle === material.trustBundle ? material : { ...material, trustBundle };
}

function united(own: string, told: string, now: number): string {
  const roots = current(readCertificates(`${own}\n${told}`, "the mesh's trust bundle"), now);
  return certificatesPem([...new Map(roots.map((root) => [root.fingerprint256, root])).values()]);
}

/** An expired root proves nothing; leaving it in makes OpenSSL's error about the other root harder to read. */
function current(roots: readonly X509Certificate[], now: number): readonly X509Certificate[] {
  return roots.filter((root) => datesProblem(root, now) === undefined);
}

function refused(why: string): MeshError {
  return new MeshError("MESH_CA_BAD_ANSWER", `the certificate that the authority sent ${why}`);
}
