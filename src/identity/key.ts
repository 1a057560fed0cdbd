/** Keys of workloads: ECDSA P-256, made on the node for each certificate. They live in memory and in the engine, never in a file. */
import { generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";

const generate = promisify(generateKeyPair);

export interface WorkloadKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** On libuv's pool: making a key never holds up the event loop. */
export async function createWorkloadKey(): Promise<WorkloadKey> {
  return await generate("ec", { namedCurve: "P-256" });
}

/** PKCS#8 PEM, as engines take it. */
export function privateKeyPem({ privateKey }: WorkloadKey): string {
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** What operators read: `P-256`, `RSA-2048`, `ED25519`. */
export function keyTypeOf(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  if (namedCurve !== undefined) return curveNames[namedCurve] ?? namedCurve;
  const type = (key.asymmetricKeyType ?? "unknown").toUpperCase();
  return modulusLength === undefined ? type : `${type}-${modulusLength}`;
}

/** OpenSSL's names of the NIST curves are those of older standards. */
const curveNames: Readonly<Record<string, string>> = {
  prime256v1: "P-256",
  secp384r1: "P-384",
  secp521r1: "P-521",
};
