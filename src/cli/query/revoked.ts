/** Which of the mesh's certificates nobody takes any more, whatever their dates: of a denied identity, or on the revocation list. */
import { pemBlocks } from "../../lib/pem.ts";
import type { MeshSettings } from "../../model/mesh.ts";

export type IsRevoked = (certificate: { readonly identity: string; readonly serial: string }) => boolean;

/** Serials as agents tell them: pairs of hexadecimal digits with colons between. */
export async function revokedBy({ deniedIdentities, crl }: MeshSettings): Promise<IsRevoked> {
  const denied = new Set<string>(deniedIdentities);
  const listed = crl === "" ? new Set<string>() : await serialsOf(crl);
  return ({ identity, serial }) => denied.has(identity) || listed.has(bare(serial));
}

async function serialsOf(crl: string): Promise<Set<string>> {
  // Loaded where there is a list alone: the library of X.509 is large.
  await import("reflect-metadata");
  const { X509Crl } = await import("@peculiar/x509");
  const lists = pemBlocks(crl, "X509 CRL").map((pem) => new X509Crl(pem));
  return new Set(lists.flatMap(({ entries }) => entries.map(({ serialNumber }) => bare(serialNumber))));
}

/** Leading zeros are written by some and left out by others. */
function bare(serial: string): string {
  return serial.replaceAll(":", "").toLowerCase().replace(/^0+/, "");
}
