/** A workload's certificate and the roots it trusts, as `proxy-config secret` shows them: public parts only. Pure. */
import { X509Certificate } from "node:crypto";
import { type Certificate, Certificate_State } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import type { Column, Listing } from "../output/listing.ts";
import { isoTime } from "../output/words.ts";
import type { IsRevoked } from "../query/revoked.ts";

export interface SecretRow {
  readonly node: string;
  readonly identity: string;
  readonly name: "default" | "ROOTCA";
  readonly type: "Cert Chain" | "CA";
  readonly status: "VALID" | "NOT YET VALID" | "EXPIRED" | "REVOKED" | "PENDING" | "UNAVAILABLE";
  readonly serial: string;
  readonly notAfter: string;
  readonly notBefore: string;
  /** PEM; of a certificate leaf first. */
  readonly pem: string;
  readonly lastError: string;
}

export function secretRows(
  node: string,
  certificate: Certificate,
  { now, isRevoked }: { readonly now: number; readonly isRevoked: IsRevoked },
): SecretRow[] {
  const { identity, lastError, chain, trustBundle, serial } = certificate;
  const notAfter = isoTime(certificate.notAfter);
  const notBefore = isoTime(certificate.notBefore);
  const leaf: SecretRow = {
    node,
    identity,
    name: "default",
    type: "Cert Chain",
    status:
      chain === ""
        ? stateOf(certificate.state)
        : isRevoked(certificate)
          ? "REVOKED"
          : validity(notBefore, notAfter, now),
    serial,
    notAfter,
    notBefore,
    pem: chain,
    lastError,
  };
  return [leaf, ...rootsOf(trustBundle).map((pem) => rootRow(node, identity, pem, now))];
}

function rootRow(node: string, identity: string, pem: string, now: number): SecretRow {
  const root = new X509Certificate(pem);
  const notAfter = root.validToDate.toISOString();
  const notBefore = root.validFromDate.toISOString();
  const status = validity(notBefore, notAfter, now);
  const serial = root.serialNumber.toLowerCase().replaceAll(/(..)(?=.)/g, "$1:");
  return { node, identity, name: "ROOTCA", type: "CA", status, serial, notAfter, notBefore, pem, lastError: "" };
}

function rootsOf(bundle: string): string[] {
  return bundle.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/g) ?? [];
}

function stateOf(state: Certificate_State): "PENDING" | "UNAVAILABLE" {
  return state === Certificate_State.UNAVAILABLE ? "UNAVAILABLE" : "PENDING";
}

function validity(notBefore: string, notAfter: string, now: number): "VALID" | "NOT YET VALID" | "EXPIRED" {
  if (now < Date.parse(notBefore)) return "NOT YET VALID";
  return now < Date.parse(notAfter) ? "VALID" : "EXPIRED";
}

/** The shape that Envoy's config dump has, so that what people have written against it goes on working. There is no `privateKey`. */
export function secretsDocument(rows: readonly SecretRow[]): object {
  const inline = (pem: string) => ({ inlineBytes: Buffer.from(pem).toString("base64") });
  const type = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
  return {
    schema: "warren.proxy-config-secret/v1",
    dynamicActiveSecrets: rows.map(({ name, node, identity, serial, notAfter, notBefore, status, pem }) => ({
      name,
      node,
      identity,
      status,
      serialNumber: serial,
      notAfter,
      notBefore,
      secret: {
        "@type": type,
        name,
        ...(name === "default"
          ? { tlsCertificate: { certificateChain: inline(pem) } }
          : { validationContext: { trustedCa: inline(pem) } }),
      },
    })),
  };
}

const columns: readonly Column<SecretRow>[] = [
  { title: "RESOURCE NAME", cell: ({ name }) => name },
  { title: "TYPE", cell: ({ type }) => type },
  {
    title: "STATUS",
    cell: ({ status }) => status,
    style: ({ status }, colours) => (status === "VALID" ? colours.green : colours.red),
  },
  { title: "VALID CERT", cell: ({ status }) => String(status === "VALID") },
  { title: "SERIAL NUMBER", cell: ({ serial }) => serial },
  { title: "NOT AFTER", cell: ({ notAfter }) => notAfter },
  { title: "NOT BEFORE", cell: ({ notBefore }) => notBefore },
  { title: "NODE", cell: ({ node }) => node, wide: true },
  { title: "IDENTITY", cell: ({ identity }) => identity, wide: true },
  { title: "LAST ERROR", cell: ({ lastError }) => lastError, wide: true },
];

export const secretsListing: Listing<SecretRow> = {
  schema: "warren.secrets/v1",
  items: "secrets",
  columns,
  name: ({ node, name, serial }) => `${node}/${name}/${serial}`,
  json: secretsDocument,
  none: "no certificate is held",
};
