/**
 * The PKCS#10 request (RFC 2986) for a workload's certificate: empty subject, and so one critical URI name (RFC 5280 §4.2.1.6). It is
 * written byte by byte because loading an X.509 library for it costs each agent 10 MB of memory; tests read it with two others.
 */
import { sign } from "node:crypto";
import { promisify } from "node:util";
import { bitString, contextTag, der, derTag, objectIdentifier } from "../lib/der.ts";
import { toPem } from "../lib/pem.ts";
import type { Identity } from "../model/identity.ts";
import type { WorkloadKey } from "./key.ts";

const signAsync = promisify(sign);

const ecdsaWithSha256 = objectIdentifier("1.2.840.10045.4.3.2");
const extensionRequest = objectIdentifier("1.2.840.113549.1.9.14");
const subjectAltName = objectIdentifier("2.5.29.17");
const version1 = der(derTag.integer, Buffer.from([0]));
const yes = der(derTag.boolean, Buffer.from([0xff]));

export async function createCertificateRequest(identity: Identity, key: WorkloadKey): Promise<string> {
  const { sequence, set, octetString } = derTag;
  const uri = der(contextTag(6, "primitive"), Buffer.from(identity, "ascii"));
  const names = der(sequence, subjectAltName, yes, der(octetString, der(sequence, uri)));
  const attribute = der(sequence, extensionRequest, der(set, der(sequence, names)));
  const request = der(
    sequence,
    version1,
    der(sequence),
    key.publicKey.export({ type: "spki", format: "der" }),
    der(contextTag(0, "constructed"), attribute),
  );
  const signature = await signAsync("sha256", request, key.privateKey);
  return toPem("CERTIFICATE REQUEST", der(sequence, request, der(sequence, ecdsaWithSha256), bitString(signature)));
}
