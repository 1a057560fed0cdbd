/** The TLS parameters of an open connection, named as OpenSSL names them. */
import type { TLSSocket } from "node:tls";
import type { TunnelInfo } from "../engine.ts";
import { derElement, derElements } from "./der-reader.ts";

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

/**
 * Node tells a client the key exchange group and a server nothing, so both ends read it from OpenSSL's session parameters, which
 * go nowhere else: they hold secrets.
 */
function negotiatedGroup(socket: TLSSocket): string {
  const session = socket.getSession();
  if (session === undefined) return "";
  const field = derElements(derElement(session).contents).find(({ tag }) => tag === kexGroupTag);
  if (field === undefined) return "";
  const id = Number(`0x${derElement(field.contents).contents.toString("hex")}`);
  return groupNames[id] ?? `0x${id.toString(16).padStart(4, "0")}`;
}
