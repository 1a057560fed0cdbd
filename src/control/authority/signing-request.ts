/** Reads a stranger's PKCS#10 request: only its public key is taken, and only of a kind and size that we sign. */
import "reflect-metadata";
import { Pkcs10CertificateRequest, type PublicKey } from "@peculiar/x509";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { pemBlocks } from "../../lib/pem.ts";

/** A P-256 request is 400 bytes; what is longer than this is not parsed at all. */
const longestRequest = 4096;

/** RSA signatures would cost each handshake of each peer ten times as much. */
const curves: readonly string[] = ["P-256", "P-384"];

/** The public key that the requester has proven to hold; throws MESH_REQUEST_INVALID. */
export async function readSigningRequest(pem: string): Promise<PublicKey> {
  if (pem.length > longestRequest) throw invalid(`has ${pem.length} characters, at most ${longestRequest} are read`);
  const [block, ...others] = pemBlocks(pem, "CERTIFICATE REQUEST");
  if (block === undefined || others.length > 0) throw invalid("is not one PEM block CERTIFICATE REQUEST");
  let request: Pkcs10CertificateRequest;
  try {
    request = new Pkcs10CertificateRequest(block);
  } catch (error) {
    throw invalid(`is not PKCS#10: ${messageOf(error)}`, error);
  }
  const algorithm = request.publicKey.algorithm as { name: string; namedCurve?: string; modulusLength?: number };
  const kind = algorithm.namedCurve ?? `${algorithm.name} ${algorithm.modulusLength ?? ""}`.trim();
  if (algorithm.name !== "ECDSA" && algorithm.name !== "EC")
    throw invalid(`has a key of kind ${kind}, not ${curves.join(" or ")}`);
  if (!curves.includes(algorithm.namedCurve ?? "")) throw invalid(`has a key on ${kind}, not ${curves.join(" or ")}`);
  let proven: boolean;
  try {
    proven = await request.verify();
  } catch (error) {
    throw invalid(`has a signature that cannot be checked: ${messageOf(error)}`, error);
  }
  if (!proven) throw invalid("is not signed by its own key");
  return request.publicKey;
}

function invalid(why: string, cause?: unknown): MeshError {
  return new MeshError("MESH_REQUEST_INVALID", `the certificate request ${why}`, { cause });
}
