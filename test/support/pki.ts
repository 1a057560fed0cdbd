import "reflect-metadata";
import { webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from "@peculiar/x509";
import { toPem } from "../../src/lib/pem.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const rsa = (modulusLength: number) =>
  ({ name: "RSASSA-PKCS1-v1_5", modulusLength, publicExponent: Uint8Array.of(1, 0, 1), hash: "SHA-256" }) as const;
const hour = 3_600_000;

export interface Party {
  readonly certificate: X509Certificate;
  readonly pem: string;
  /** PKCS#8 PEM. */
  readonly key: string;
  readonly keys: webcrypto.CryptoKeyPair;
}

export interface PartyOptions {
  readonly subject?: string;
  readonly names?: JsonGeneralName[];
  readonly authority?: boolean;
  readonly pathLength?: number;
  readonly purposes?: readonly ("client" | "server")[];
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly serial?: string;
  /** Of its key, which is ECDSA's on P-256 otherwise. */
  readonly rsaBits?: number;
  /** That it is signed with; an RSA key signs with SHA-256. */
  readonly hash?: "SHA-1" | "SHA-256";
  /** Absent: no such extension. */
  readonly usages?: readonly ("keyCertSign" | "cRLSign")[];
}

/** A certificate as nobody but a test would make it: every field as asked, good or bad. Without an issuer it signs itself. */
export async function makeParty(options: PartyOptions, issuer?: Party): Promise<Party> {
  const { rsaBits, hash = "SHA-256" } = options;
  const keys = await webcrypto.subtle.generateKey(rsaBits === undefined ? algorithm : rsa(rsaBits), true, [
    "sign",
    "verify",
  ]);
  const signingKey = (issuer?.keys ?? keys).privateKey;
  const extensions: Extension[] = [new BasicConstraintsExtension(options.authority ?? false, options.pathLength, true)];
  if (options.names !== undefined) extensions.push(new SubjectAlternativeNameExtension(options.names, true));
  if (options.purposes !== undefined) {
    const oids = options.purposes.map((purpose) => (purpose === "client" ? "1.3.6.1.5.5.7.3.2" : "1.3.6.1.5.5.7.3.1"));
    extensions.push(new ExtendedKeyUsageExtension(oids));
  }
  if (options.usages !== undefined) {
    const flags = options.usages.map((usage) => KeyUsageFlags[usage]).reduce((all, one) => all | one);
    extensions.push(new KeyUsagesExtension(flags, true));
  }
  const certificate = await X509CertificateGenerator.create({
    subject: options.subject ?? "",
    issuer: issuer?.certificate.subject ?? options.subject ?? "",
    notBefore: new Date(options.notBefore ?? Date.now() - hour),
    notAfter: new Date(options.notAfter ?? Date.now() + hour),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: signingKey.algorithm.name === algorithm.name ? { ...algorithm, hash } : signingKey.algorithm,
    extensions,
    ...(options.serial === undefined ? {} : { serialNumber: options.serial }),
  });
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    certificate,
    pem: toPem("CERTIFICATE", new Uint8Array(certificate.rawData)),
    key: toPem("PRIVATE KEY", new Uint8Array(pkcs8)),
    keys,
  };
}
/** A CRL of `issuer` with these serial numbers, PEM. */
export async function makeCrl(
  issuer: Party,
  serials: readonly string[],
  nextUpdate = Date.now() + hour,
): Promise<string> {
  const crl = await X509CrlGenerator.create({
    issuer: issuer.certificate.subject,
    thisUpdate: new Date(Date.now() - 2 * hour),
    nextUpdate: new Date(nextUpdate),
    entries: serials.map((serialNumber) => ({ serialNumber, revocationDate: new Date(Date.now() - hour) })),
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: algorithm,
  });
  // The label that OpenSSL reads.
  return toPem("X509 CRL", new Uint8Array(crl.rawData));
}
