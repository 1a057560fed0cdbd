/**
 * Certificate revocation lists (RFC 5280 §5) for peers' chains. OpenSSL's own CRL check refuses every issuer without a list and
 * every list past its nextUpdate, and Node keeps only the last of several verification errors, so tolerating those two there
 * would tolerate others behind them. Here: a listed certificate is revoked, an unknown status is not, an old list still counts.
 */
import { verify, type X509Certificate } from "node:crypto";
import { type DerElement, derElement, derElements } from "../lib/der-reader.ts";
import { MeshError, messageOf } from "../lib/errors.ts";
import { pemBlocks } from "../lib/pem.ts";
import { readCertificates } from "./certificate.ts";

const integerTag = 0x02;
const bitStringTag = 0x03;
const sequenceTag = 0x30;
const extensionsTag = 0xa0;

/** Hash for `crypto.verify` by the signature algorithm's OID contents in hex; `null` is Ed25519, which has none. */
const signatureHashes: Readonly<Record<string, string | null>> = {
  "2a8648ce3d040302": "sha256",
  "2a8648ce3d040303": "sha384",
  "2a8648ce3d040304": "sha512",
  "2a864886f70d01010b": "sha256",
  "2a864886f70d01010c": "sha384",
  "2a864886f70d01010d": "sha512",
  "2b6570": null,
};

/** A certificate's issuer name (DER) and serial number, the key of every CRL entry. */
export interface CertificateKey {
  readonly issuer: Buffer;
  readonly serial: string;
}

/** tbsCertificate of RFC 5280 §4.1: [0] version, serialNumber, signature, issuer, … */
export function certificateKey(certificate: X509Certificate): CertificateKey {
  const [tbs] = derElements(derElement(certificate.raw).contents);
  const fields = tbs === undefined ? [] : derElements(tbs.contents);
  const first = fields[0]?.tag === extensionsTag ? 1 : 0;
  const serial = fields[first];
  const issuer = fields[first + 2];
  if (serial?.tag !== integerTag || issuer === undefined) {
    throw new MeshError("MESH_DER_MALFORMED", "a certificate without serial number or issuer");
  }
  return { issuer: issuer.raw, serial: serial.contents.toString("hex") };
}

export class RevocationList {
  readonly #issuer: Buffer;
  readonly #serials: ReadonlySet<string>;
  readonly #signed: Buffer;
  readonly #signature: Buffer;
  readonly #hash: string | null;

  /** Reads one CRL; throws for delta and indirect lists, whose entries mean something else than they seem. */
  constructor(bytes: Buffer) {
    const [tbs, algorithm, signature] = derElements(derElement(bytes).contents);
    if (tbs === undefined || algorithm === undefined || signature?.tag !== bitStringTag) {
      throw new MeshError("MESH_DER_MALFORMED", "not a certificate list of RFC 5280");
    }
    const oid = derElements(algorithm.contents)[0]?.contents.toString("hex") ?? "";
    const hash = signatureHashes[oid];
    if (hash === undefined) throw new MeshError("MESH_CRL_UNSUPPORTED", `unsupported signature algorithm ${oid}`);
    this.#hash = hash;
    this.#signed = tbs.raw;
    this.#signature = signature.contents.subarray(1);

    // version OPTIONAL, signature, issuer, thisUpdate, nextUpdate OPTIONAL, revokedCertificates OPTIONAL, [0] extensions OPTIONAL
    const fields = derElements(tbs.contents);
    const start = fields[0]?.tag === integerTag ? 1 : 0;
    const issuer = fields[start + 1];
    if (issuer === undefined) throw new MeshError("MESH_DER_MALFORMED", "a CRL without an issuer");
    this.#issuer = issuer.raw;
    const rest = fields.slice(start + 3);
    if (rest.some(({ tag, contents }) => tag === extensionsTag && hasCriticalExtension(derElement(contents)))) {
      throw new MeshError("MESH_CRL_UNSUPPORTED", "delta and indirect CRLs are not supported; publish a full CRL");
    }
    const entries = rest.find(({ tag }) => tag === sequenceTag);
    this.#serials = new Set(entries === undefined ? [] : derElements(entries.contents).map(serialOfEntry));
  }

  /** True if the list names the certificate and `issuer`, who signed it, signed the list too. */
  revokes(key: CertificateKey, issuer: X509Certificate): boolean {
    if (!this.#serials.has(key.serial) || !this.#issuer.equals(key.issuer)) return false;
    return verify(this.#hash, this.#signed, issuer.publicKey, this.#signature);
  }
}

/** Extension ::= SEQUENCE { OID, critical BOOLEAN DEFAULT FALSE, value } */
function hasCriticalExtension(extensions: DerElement): boolean {
  return derElements(extensions.contents).some(({ contents }) => derElements(contents)[1]?.tag === 0x01);
}

/** SEQUENCE { userCertificate, revocationDate, crlEntryExtensions OPTIONAL } */
function serialOfEntry({ contents }: DerElement): string {
  const [serial, , extensions] = derElements(contents);
  if (serial?.tag !== integerTag) throw new MeshError("MESH_DER_MALFORMED", "a CRL entry without a serial number");
  if (extensions !== undefined && hasCriticalExtension(extensions)) {
    throw new MeshError("MESH_CRL_UNSUPPORTED", "indirect CRLs are not supported; publish one CRL per issuer");
  }
  return serial.contents.toString("hex");
}

/** All CRLs of a PEM text; throws MESH_CRL_UNREADABLE naming the one that is not. */
export function readRevocationLists(pem: string): RevocationList[] {
  const blocks = pemBlocks(pem, "X509 CRL");
  if (blocks.length === 0 && pem.trim() !== "") {
    throw new MeshError("MESH_CRL_UNREADABLE", "the CRL text holds no PEM block `X509 CRL`");
  }
  return blocks.map((block, index) => {
    try {
      return new RevocationList(Buffer.from(block.replaceAll(/-----[^-]+-----/g, ""), "base64"));
    } catch (error) {
      throw new MeshError("MESH_CRL_UNREADABLE", `CRL ${index + 1} cannot be used: ${messageOf(error)}`, {
        cause: error,
      });
    }
  });
}

/** True if any certificate of the chain (leaf first, root last) is revoked by its issuer. */
export function isRevoked(chain: readonly X509Certificate[], lists: readonly RevocationList[]): boolean {
  if (lists.length === 0) return false;
  return chain.some((certificate, index) => {
    const key = certificateKey(certificate);
    const issuer = chain[index + 1] ?? certificate;
    return lists.some((list) => list.revokes(key, issuer));
  });
}

/** Judges one certificate after the other by the same lists: they are parsed once. */
export class RevocationJudge {
  #text = "";
  #lists: readonly RevocationList[] = [];

  /** PEM throughout; `chain` leaf first without the root, `roots` in any order. Throws MESH_CRL_UNREADABLE. */
  isRevoked({ chain, roots, crl }: { readonly chain: string; readonly roots: string; readonly crl: string }): boolean {
    if (crl !== this.#text) {
      this.#lists = readRevocationLists(crl);
      this.#text = crl;
    }
    if (this.#lists.length === 0) return false;
    const sent = readCertificates(chain, "the chain");
    const last = sent.at(-1);
    const root = readCertificates(roots, "the roots").find((one) => last?.checkIssued(one) === true);
    return isRevoked(root === undefined ? sent : [...sent, root], this.#lists);
  }
}
