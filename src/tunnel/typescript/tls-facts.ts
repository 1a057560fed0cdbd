/** The TLS parameters of an open connection, named as OpenSSL names them. */
import type { TLSSocket } from "node:tls";
import { derElement, derElements } from "../../lib/der-reader.ts";
import type { TunnelInfo } from "../engine.ts";

/** IANA "TLS Supported Groups" numbers with the names of OpenSSL's `SSL_get0_group_name`. */
const groupNames: Readonly<Record<number, string>> = {
  23: "secp256r1",
  24: "secp384r1",
  25: "secp521r1",
  29: "x25519",
  30: "x448",
  512: "MLKEM512",
  513: "MLKEM768",
  514: "MLKEM1024",
  4587: "SecP256r1MLKEM768",
  4588: "X25519MLKEM768",
  4589: "SecP384r1MLKEM1024",
};

/** `[19] kex_group` of OpenSSL's SSL_SESSION_ASN1 (ssl/ssl_asn1.c). */
const kexGroupTag = 0xb3;

export function tlsFacts(socket: TLSSocket): TunnelInfo["tls"] {
  return { version: socket.getProtocol() ?? "", group: negotiatedGroup(socket), cipher: socket.getCipher().name };
}

/** Node names a client's group by its key type; these two differ from the group's own name. */
const keyTypeNames: Readonly<Record<string, string>> = { prime256v1: "secp256r1", X25519: "x25519", X448: "x448" };

/** Empty if it cannot be told. A client is told by Node; a server reads it from OpenSSL's session, which goes nowhere else. */
function negotiatedGroup(socket: TLSSocket): string {
  const key: { readonly name?: unknown } | null = socket.getEphemeralKeyInfo();
  if (typeof key?.name === "string") return keyTypeNames[key.name] ?? key.name;
  const session = socket.getSession();
  if (session === undefined) return "";
  try {
    const field = derElements(derElement(session).contents).find(({ tag }) => tag === kexGroupTag);
    if (field === undefined) return "";
    const id = Number(`0x${derElement(field.contents).contents.toString("hex")}`);
    return groupNames[id] ?? `0x${id.toString(16).padStart(4, "0")}`;
  } catch {
    // The form is OpenSSL's own business; a listing without the group is no reason to lose a tunnel.
    return "";
  }
}
