/**
 * Judges certificates that somebody else's authority has made for ours to sign with: the files of Istio's `cacerts`, or a
 * `kubernetes.io/tls` Secret. All of it is right or none of it is used: every problem is told with the file it is in and what to do. A
 * half-right set would be found out by each agent alone, and falling back to a root of our own would cut everybody off.
 */
import "reflect-metadata";
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509Certificate as Parsed,
} from "@peculiar/x509";
import { certificatesPem } from "../../identity/certificate.ts";
import { datesProblem } from "../../identity/certificate-chain.ts";
import { readRevocationLists } from "../../identity/revocation-list.ts";
import { messageOf } from "../../lib/errors.ts";
import { pemBlocks } from "../../lib/pem.ts";
import type { Issuer } from "./authority-state.ts";
import { signingKey, usableKeys } from "./signer.ts";

/** File names of Istio's `cacerts`, in the order in which problems are told. */
export const plugInFiles = ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem", "ca-crl.pem"] as const;
export type PlugInFile = (typeof plugInFiles)[number];
export type PlugInMaterial = Readonly<Partial<Record<PlugInFile, string>>>;

export interface PlugInProblem {
  readonly file: PlugInFile;
  /** What is wrong, and what to do about it. */
  readonly message: string;
}

export type PlugInVerdict =
  | { readonly kind: "usable"; readonly issuer: Issuer; readonly warnings: readonly PlugInProblem[] }
  | { readonly kind: "unusable"; readonly problems: readonly PlugInProblem[] };

export interface PlugInOptions {
  /** Unix time in milliseconds. */
  readonly now: number;
  /** What is signed must fit in: of a shorter-lived authority every certificate would be cut short. */
  readonly certificateLifetimeMs: number;
}

/** The same material as it lies in a `kubernetes.io/tls` Secret: the certificate with its chain, the key, the root. */
export function fromTlsSecret(data: Readonly<Record<string, string>>): PlugInMaterial {
  const { "tls.crt": certificate, "tls.key": key, "ca.crt": root } = data;
  const [first = "", ...rest] = pemBlocks(certificate ?? "", "CERTIFICATE");
  return {
    ...(certificate === undefined ? {} : { "ca-cert.pem": first, "cert-chain.pem": [first, ...rest].join("") }),
    ...(key === undefined ? {} : { "ca-key.pem": key }),
    ...(root === undefined ? {} : { "root-cert.pem": root }),
  };
}

export function checkPlugIn(material: PlugInMaterial, options: PlugInOptions): PlugInVerdict {
  const problems: PlugInProblem[] = [];
  const wrong = (file: PlugInFile, message: string) => void problems.push({ file, message });

  for (const file of ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"] as const) {
    if ((material[file] ?? "").trim() === "")
      wrong(file, `is ${material[file] === undefined ? "missing" : "empty"}; all four files are needed`);
  }
  if (problems.length > 0) return { kind: "unusable", problems };

  const authorities = certificatesOf(material, "ca-cert.pem", wrong);
  const chain = certificatesOf(material, "cert-chain.pem", wrong);
  const roots = certificatesOf(material, "root-cert.pem", wrong);
  const key = keyOf(material["ca-key.pem"] ?? "", wrong);
  checkCrl(material["ca-crl.pem"] ?? "", wrong);
  const [authority, ...others] = authorities;
  if (authority === undefined || chain.length === 0 || roots.length === 0) return { kind: "unusable", problems };
  if (others.length > 0)
    wrong(
      "ca-cert.pem",
      `holds ${authorities.length} certificates; leave the one that signs, the others belong into cert-chain.pem`,
    );

  if (key !== undefined && !authority.checkPrivateKey(key))
    wrong("ca-key.pem", "is not the key of the certificate in ca-cert.pem; take both from the same issuance");
  if (!chain.some((one) => one.raw.equals(authority.raw)) && chain[0] !== undefined)
    wrong(
      "cert-chain.pem",
      "does not hold the certificate in ca-cert.pem; put that first, then its issuers up to the root",
    );
  for (const root of roots) {
    if (!root.ca) wrong("root-cert.pem", `${named(root)} is not a certificate authority (basicConstraints CA:TRUE)`);
    else if (!root.checkIssued(root) || !root.verify(root.publicKey))
      wrong(
        "root-cert.pem",
        `${named(root)} is not self-signed: it is an intermediate; put the root here and that into cert-chain.pem`,
      );
  }
  const path = pathToRoot(authority, chain, roots);
  if (path === undefined)
    wrong(
      "cert-chain.pem",
      "does not lead from ca-cert.pem to a root in root-cert.pem; add the missing issuers, or the root that they have",
    );
  for (const [index, one] of (path ?? [authority]).entries()) {
    const file = fileOf(one, authority, roots);
    for (const message of authorityProblems(one, index, options)) wrong(file, message);
  }
  if (problems.length > 0 || path === undefined) return { kind: "unusable", problems };

  const [root] = path.slice(-1);
  const ordered = [...(root === undefined ? [] : [root]), ...roots.filter((other) => other !== root)];
  return {
    kind: "usable",
    warnings: warningsOf(authority, path, options),
    issuer: {
      origin: "plug-in",
      intermediate: { certificate: authority.toString(), key: material["ca-key.pem"] ?? "" },
      chain: certificatesPem(path.slice(1, -1)),
      roots: certificatesPem(ordered),
      rootKey: "",
      crl: pemBlocks(material["ca-crl.pem"] ?? "", "X509 CRL").join(""),
    },
  };
}

type Wrong = (file: PlugInFile, message: string) => void;

function certificatesOf(material: PlugInMaterial, file: PlugInFile, wrong: Wrong): X509Certificate[] {
  const blocks = pemBlocks(material[file] ?? "", "CERTIFICATE");
  if (blocks.length === 0) wrong(file, "holds no PEM block CERTIFICATE; convert DER with openssl x509 -inform der");
  return blocks.flatMap((block, index) => {
    try {
      return [new X509Certificate(block)];
    } catch (error) {
      wrong(file, `certificate ${index + 1} cannot be read: ${messageOf(error)}; copy it anew`);
      return [];
    }
  });
}

function keyOf(pem: string, wrong: Wrong): KeyObject | undefined {
  if (/ENCRYPTED/.test(pem)) {
    wrong("ca-key.pem", "is encrypted, and there is nobody to ask for the passphrase; decrypt it with openssl pkey");
    return undefined;
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // OpenSSL's words may quote what they could not read.
    wrong("ca-key.pem", "holds no private key in PEM; it begins with -----BEGIN PRIVATE KEY-----");
    return undefined;
  }
  try {
    signingKey(key);
  } catch {
    wrong("ca-key.pem", `is of a kind that is not signed with; have a certificate issued for ${usableKeys}`);
  }
  return key;
}

function checkCrl(pem: string, wrong: Wrong): void {
  try {
    readRevocationLists(pem);
  } catch (error) {
    wrong("ca-crl.pem", `${messageOf(error)}; publish full CRLs in PEM, or leave the file out`);
  }
}

/** From the authority to a root, both included; one element when the authority is its own root. */
function pathToRoot(
  authority: X509Certificate,
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[],
): readonly X509Certificate[] | undefined {
  const extend = (path: readonly X509Certificate[]): readonly X509Certificate[] | undefined => {
    const last = path.at(-1);
    if (last === undefined) return undefined;
    const root = roots.find((one) => one.raw.equals(last.raw));
    if (root !== undefined) return [...path.slice(0, -1), root];
    for (const issuer of [...roots, ...chain]) {
      if (path.some((seen) => seen.raw.equals(issuer.raw))) continue;
      if (!last.checkIssued(issuer) || !last.verify(issuer.publicKey)) continue;
      const found = extend([...path, issuer]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return extend([authority]);
}

/** `below`: authorities between this one and the workloads. */
function authorityProblems(certificate: X509Certificate, below: number, { now }: PlugInOptions): string[] {
  const parsed = new Parsed(certificate.raw);
  const constraints = parsed.getExtension(BasicConstraintsExtension);
  const usage = parsed.getExtension(KeyUsagesExtension);
  const dates = datesProblem(certificate, now);
  const { hash } = parsed.signatureAlgorithm as { hash?: { name: string } };
  const selfSigned = certificate.checkIssued(certificate);
  const found: string[] = [];
  const who = named(certificate);
  if (constraints?.ca !== true)
    found.push(`${who} is not a certificate authority; have it issued with basicConstraints CA:TRUE`);
  if (constraints?.pathLength !== undefined && constraints.pathLength < below)
    found.push(
      `${who} allows ${constraints.pathLength} authorities below it (pathlen), and there are ${below}; have it issued with a larger one`,
    );
  if (usage !== null && (usage.usages & KeyUsageFlags.keyCertSign) === 0)
    found.push(`${who} may not sign certificates; have it issued with the key usage keyCertSign`);
  if (dates !== undefined) found.push(`${who}: ${dates}; have it issued anew`);
  // Nobody verifies a root's own signature.
  if (!selfSigned && hash !== undefined && ["SHA-1", "MD5"].includes(hash.name))
    found.push(`${who} is signed with ${hash.name}, which TLS peers refuse; have it issued with SHA-256`);
  const { asymmetricKeyType: kind, asymmetricKeyDetails: details } = certificate.publicKey;
  if (kind?.startsWith("rsa") === true && (details?.modulusLength ?? 0) < 2048)
    found.push(`${who} has an RSA key of ${details?.modulusLength} bits, which TLS peers refuse; 2048 are the least`);
  return found;
}

function warningsOf(
  authority: X509Certificate,
  path: readonly X509Certificate[],
  { now, certificateLifetimeMs }: PlugInOptions,
): PlugInProblem[] {
  const warnings: PlugInProblem[] = [];
  const ends = Math.min(...path.map((one) => one.validToDate.getTime()));
  if (ends - now < 2 * certificateLifetimeMs) {
    const message = `ends at ${new Date(ends).toISOString()}: certificates are cut to that already; replace it now`;
    warnings.push({ file: "ca-cert.pem", message });
  }
  const usage = new Parsed(authority.raw).getExtension(KeyUsagesExtension);
  if (usage !== null && (usage.usages & KeyUsageFlags.cRLSign) === 0) {
    const message =
      "may not sign revocation lists (key usage cRLSign): single certificates cannot be revoked, identities can";
    warnings.push({ file: "ca-cert.pem", message });
  }
  return warnings;
}

function fileOf(
  certificate: X509Certificate,
  authority: X509Certificate,
  roots: readonly X509Certificate[],
): PlugInFile {
  if (certificate.raw.equals(authority.raw)) return "ca-cert.pem";
  return roots.includes(certificate) ? "root-cert.pem" : "cert-chain.pem";
}

function named(certificate: X509Certificate): string {
  return certificate.subject === undefined
    ? "a certificate without a subject"
    : certificate.subject.replaceAll("\n", ", ");
}
