/** Writes the kinds of certificates that the authority signs, as RFC 5280 and X509-SVID want them. Keys of our own are P-256. */
import "reflect-metadata";
import { randomBytes, type webcrypto } from "node:crypto";
import { isIP } from "node:net";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  type PublicKeyType,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { Identity } from "../../model/identity.ts";
import { ownAlgorithm, type Signer } from "./signer.ts";

const serverAuth = "1.3.6.1.5.5.7.3.1";
const clientAuth = "1.3.6.1.5.5.7.3.2";

/** Unix time in milliseconds. Certificates count whole seconds: the start is rounded down, the end up. */
export interface Validity {
  readonly notBefore: number;
  readonly notAfter: number;
}

export async function writeRoot(
  name: string,
  keys: webcrypto.CryptoKeyPair,
  validity: Validity,
): Promise<X509Certificate> {
  return await X509CertificateGenerator.createSelfSigned({
    name,
    keys,
    signingAlgorithm: ownAlgorithm,
    serialNumber: newSerial(),
    ...dates(validity),
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
}

/** Signs workloads and nothing that could sign in turn: path length 0. */
export async function writeIntermediate(
  name: string,
  publicKey: webcrypto.CryptoKey,
  root: Signer,
  validity: Validity,
): Promise<X509Certificate> {
  return await sign(root, publicKey, name, validity, [
    new BasicConstraintsExtension(true, 0, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ]);
}

/** Empty subject, one critical URI name (RFC 5280 §4.2.1.6), for both ends of mutual TLS. */
export async function writeWorkload(
  identity: Identity,
  publicKey: PublicKeyType,
  issuer: Signer,
  validity: Validity,
): Promise<X509Certificate> {
  return await sign(issuer, publicKey, "", validity, [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([serverAuth, clientAuth]),
    new SubjectAlternativeNameExtension([{ type: "url", value: identity }], true),
  ]);
}

/** For the control plane's own listener. */
export async function writeServing(
  name: string,
  hosts: readonly string[],
  publicKey: PublicKeyType,
  issuer: Signer,
  validity: Validity,
): Promise<X509Certificate> {
  const names = hosts.map((value): JsonGeneralName => ({ type: isIP(value) === 0 ? "dns" : "ip", value }));
  return await sign(issuer, publicKey, name, validity, [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([serverAuth]),
    new SubjectAlternativeNameExtension(names),
  ]);
}

async function sign(
  issuer: Signer,
  publicKey: PublicKeyType,
  subject: string,
  validity: Validity,
  extensions: readonly Extension[],
): Promise<X509Certificate> {
  return await X509CertificateGenerator.create({
    publicKey,
    subject,
    issuer: issuer.certificate.subjectName,
    signingKey: issuer.key,
    signingAlgorithm: issuer.algorithm,
    serialNumber: newSerial(),
    ...dates(validity),
    extensions: [
      ...extensions,
      await SubjectKeyIdentifierExtension.create(publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.certificate.publicKey),
    ],
  });
}

/** 127 random bits, positive and never shortened (RFC 5280 §4.1.2.2). */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString("hex");
}

function dates({ notBefore, notAfter }: Validity): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(Math.floor(notBefore / 1000) * 1000),
    notAfter: new Date(Math.ceil(notAfter / 1000) * 1000),
  };
}
