/** Checks that decoders share: each returns the value in the model's form or throws InvalidResource naming the field. */
import { parseIdentity } from "../../identity/spiffe.ts";
import { ipBytes, ipFromBytes } from "../../lib/ip.ts";
import type { Identity, IdentityParts } from "../../model/identity.ts";
import { InvalidResource } from "./resource-types.ts";

export function wireAddress(text: string): Uint8Array {
  const bytes = ipBytes(text);
  if (bytes === undefined) throw new InvalidResource(`${JSON.stringify(text)} is not an IP address`);
  return Uint8Array.from(bytes);
}

export function checkedAddress(bytes: Uint8Array, field: string): string {
  const text = ipFromBytes(bytes);
  if (text === undefined) throw new InvalidResource(`${field}: an IP address has 4 or 16 bytes, not ${bytes.length}`);
  return text;
}

export function checkedText(text: string, field: string): string {
  if (text === "") throw new InvalidResource(`${field} is empty`);
  return text;
}

/** A Kubernetes name or namespace: it becomes part of keys, so it holds no slash. */
export function checkedName(text: string, field: string): string {
  if (text === "" || text.includes("/")) throw new InvalidResource(`${field}: ${JSON.stringify(text)} is not a name`);
  return text;
}

export function checkedPort(port: number, field: string): number {
  if (port < 1 || port > 65_535) throw new InvalidResource(`${field}: ${port} is not a port`);
  return port;
}

/** The parts as an identity: not every text makes a SPIFFE id. */
export function checkedIdentity({ trustDomain, namespace, serviceAccount }: IdentityParts): Identity {
  const text = `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
  if (parseIdentity(text) === undefined) throw new InvalidResource(`${JSON.stringify(text)} is not a SPIFFE id`);
  return text as Identity;
}
