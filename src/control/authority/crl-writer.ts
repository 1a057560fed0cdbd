/** Writes certificate revocation lists (RFC 5280 §5): full lists, numbered, each signed by the issuer that it speaks for. */
import "reflect-metadata";
import { AuthorityKeyIdentifierExtension, Extension, X509CrlGenerator } from "@peculiar/x509";
import { der, derTag } from "../../lib/der.ts";
import { toPem } from "../../lib/pem.ts";
import type { RevokedSerial } from "./authority-state.ts";
import type { Signer } from "./signer.ts";

/** RFC 5280 §5.2.3. */
const crlNumberExtension = "2.5.29.20";

/**
 * PEM. The list holds until its issuer ends: it reaches agents when it changes, not when it is looked for, so that there is no
 * freshness to be judged by a date.
 */
export async function writeCrl(
  issuer: Signer,
  number: number,
  serials: readonly RevokedSerial[],
  now: number,
): Promise<string> {
  const list = await X509CrlGenerator.create({
    issuer: issuer.certificate.subjectName,
    thisUpdate: new Date(now),
    nextUpdate: issuer.certificate.notAfter,
    entries: serials.map(({ serial, at }) => ({ serialNumber: serial, revocationDate: new Date(at) })),
    extensions: [
      await AuthorityKeyIdentifierExtension.create(issuer.certificate.publicKey),
      new Extension(crlNumberExtension, false, der(derTag.integer, unsigned(number))),
    ],
    signingKey: issuer.key,
    signingAlgorithm: issuer.algorithm,
  });
  // The label that OpenSSL reads (RFC 7468 §6).
  return toPem("X509 CRL", new Uint8Array(list.rawData));
}

/** Contents of an INTEGER that is not negative: as short as can be, the first bit clear. */
function unsigned(number: number): Buffer {
  const hexadecimal = number.toString(16);
  const bytes = Buffer.from(hexadecimal.length % 2 === 0 ? hexadecimal : `0${hexadecimal}`, "hex");
  return (bytes[0] ?? 0) < 0x80 ? bytes : Buffer.concat([Buffer.from([0]), bytes]);
}
