/** Facts of a certificate, as listings and checks need them. */
import { X509Certificate } from "node:crypto";
import { MeshError, messageOf } from "../lib/errors.ts";
import { pemBlocks } from "../lib/pem.ts";
import type { Identity } from "../model/identity.ts";
import { keyTypeOf } from "./key.ts";
import { identityOfNames } from "./spiffe.ts";

export interface CertificateFacts {
  /** Undefined for authorities and for certificates that prove no workload. */
  readonly identity: Identity | undefined;
  /** Hexadecimal, lower case, colons between bytes. */
  readonly serial: string;
  /** Unix time in milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Distinguished names on one line; empty for workloads, whose name is the identity. */
  readonly subject: string;
  readonly issuer: string;
  readonly keyType: string;
  readonly authority: boolean;
}

export function certificateFacts(certificate: X509Certificate): CertificateFacts {
  return {
    identity: certificate.ca ? undefined : identityOfNames(certificate.subjectAltName),
    serial: serialText(certificate.serialNumber),
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    keyType: keyTypeOf(certificate.publicKey),
    authority: certificate.ca,
  };
}

/** All certificates of a PEM text, in order; throws MESH_CERTIFICATE_UNREADABLE naming the one that is not. */
export function readCertificates(pem: string, what: string): X509Certificate[] {
  return pemBlocks(pem, "CERTIFICATE").map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw new MeshError(
        "MESH_CERTIFICATE_UNREADABLE",
        `certificate ${index + 1} of ${what} cannot be read: ${messageOf(error)}; it must be PEM`,
        { cause: error },
      );
    }
  });
}

export function certificatesPem(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => certificate.toString()).join("");
}

/** `5f:0c:…` */
export function serialText(hexadecimal: string): string {
  const even = hexadecimal.length % 2 === 0 ? hexadecimal : `0${hexadecimal}`;
  return (even.toLowerCase().match(/../g) ?? []).join(":");
}

/** Node prints one attribute per line; undefined for an empty name. */
function oneLine(name: string | undefined): string {
  return (name ?? "").split("\n").filter(Boolean).join(", ");
}
