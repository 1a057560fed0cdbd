/** A certificate together with the key that signs in its name: made, read back from text, and checked to belong together. */
import "reflect-metadata";
import { createPrivateKey, X509Certificate as NodeCertificate, webcrypto } from "node:crypto";
import { X509Certificate } from "@peculiar/x509";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { toPem } from "../../lib/pem.ts";
import type { KeyedCertificate } from "./authority-state.ts";

export interface Signer {
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256" } as const;

export async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
}

/** `what` names it in errors, e.g. `root`. */
export function readSigner({ certificate: pem, key }: KeyedCertificate, what: string): Signer {
  try {
    const privateKey = createPrivateKey(key);
    const certificate = new NodeCertificate(pem);
    if (!certificate.ca) throw new Error("its certificate is not one of an authority");
    if (!certificate.checkPrivateKey(privateKey)) throw new Error("its key belongs to another certificate");
    return { certificate: new X509Certificate(pem), key: privateKey.toCryptoKey(keyAlgorithm, true, ["sign"]) };
  } catch (error) {
    throw unusableSigner(what, messageOf(error), error);
  }
}

export async function signerText({ certificate, key }: Signer): Promise<KeyedCertificate> {
  return { certificate: certificatePem(certificate), key: await keyPem(key) };
}

/** PKCS#8 PEM. */
export async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return toPem("PRIVATE KEY", new Uint8Array(await webcrypto.subtle.exportKey("pkcs8", key)));
}

export function certificatePem(certificate: X509Certificate): string {
  return toPem("CERTIFICATE", new Uint8Array(certificate.rawData));
}

export function unusableSigner(what: string, why: string, cause?: unknown): MeshError {
  return new MeshError(
    "MESH_AUTHORITY_UNUSABLE",
    `the authority's ${what} cannot be used: ${why}; restore the state, or remove it to begin anew with another root`,
    { cause },
  );
}
