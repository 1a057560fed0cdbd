/** A certificate together with the key that signs in its name: made, read back from text, and checked to belong together. */
import "reflect-metadata";
import { createPrivateKey, type KeyObject, X509Certificate as NodeCertificate, webcrypto } from "node:crypto";
import { X509Certificate } from "@peculiar/x509";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { toPem } from "../../lib/pem.ts";
import type { KeyedCertificate } from "./authority-state.ts";

/** What WebCrypto is told when it signs with a key. */
export type SigningAlgorithm =
  | { readonly name: "ECDSA"; readonly hash: "SHA-256" | "SHA-384" | "SHA-512" }
  | { readonly name: "RSASSA-PKCS1-v1_5"; readonly hash: "SHA-256" };

export interface Signer {
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
  readonly algorithm: SigningAlgorithm;
}

/** Our own keys. */
const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256" } as const;
export const ownAlgorithm: SigningAlgorithm = { name: "ECDSA", hash: "SHA-256" };

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
    return { certificate: new X509Certificate(pem), ...signingKey(privateKey) };
  } catch (error) {
    throw unusableSigner(what, messageOf(error), error);
  }
}

/** What an authority's key may be; RSA because Istio's plug-in certificates are made with it as a rule. */
export const usableKeys = "ECDSA on P-256, P-384 or P-521, or RSA of 2048 bits and more";

/** Throws for kinds of keys that we do not sign with. */
export function signingKey(key: KeyObject): Pick<Signer, "key" | "algorithm"> {
  const { namedCurve = "", modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const curve = curves.get(namedCurve);
  if (curve !== undefined) {
    const [name, hash] = curve;
    return {
      key: key.toCryptoKey({ name: "ECDSA", namedCurve: name }, true, ["sign"]),
      algorithm: { name: "ECDSA", hash },
    };
  }
  if (key.asymmetricKeyType === "rsa" && modulusLength >= 2048) {
    const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;
    return { key: key.toCryptoKey(algorithm, true, ["sign"]), algorithm };
  }
  throw new Error(`its key is not ${usableKeys}`);
}

type EcdsaHash = Extract<SigningAlgorithm, { name: "ECDSA" }>["hash"];

/** OpenSSL's names of the NIST curves, ours, and the hash of the same strength. */
const curves: ReadonlyMap<string, readonly [name: string, hash: EcdsaHash]> = new Map([
  ["prime256v1", ["P-256", "SHA-256"]],
  ["secp384r1", ["P-384", "SHA-384"]],
  ["secp521r1", ["P-521", "SHA-512"]],
]);

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
