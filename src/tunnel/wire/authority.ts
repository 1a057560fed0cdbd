/**
 * The `:authority` of an HBONE CONNECT: where the client wants its bytes delivered. RFC 9113 §8.5 asks for host and port; HBONE
 * names a pod by address, `10.0.0.7:8080` or `[fd00::7]:8080`, and a service behind a gateway by host name.
 */
import { formatHostPort, parseHostPort } from "../../lib/host-port.ts";
import { canonicalIp } from "../../lib/ip.ts";
import type { SocketAddress } from "../../model/address.ts";

export type Authority =
  | { readonly kind: "address"; readonly address: string; readonly port: number }
  | { readonly kind: "hostname"; readonly hostname: string; readonly port: number };

/** RFC 1123 §2.1 with the lengths of RFC 1035 §2.3.4; underscores because Kubernetes clusters have them in practice. */
const hostname =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;
/** A last label that is a number makes it an IPv4 address or nothing (WHATWG URL, "ends in a number"): `010.0.0.1` is no host name. */
const endsInNumber = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/i;

/** Undefined unless the text is a host and a port other than 0. */
export function parseAuthority(text: string): Authority | undefined {
  const parts = parseHostPort(text);
  if (parts === undefined || parts.port === 0) return undefined;
  const { host, port } = parts;
  // Only IPv6 addresses stand in brackets (RFC 3986 §3.2.2).
  if (text.startsWith("[") && !host.includes(":")) return undefined;
  const address = canonicalIp(host);
  if (address !== undefined) return { kind: "address", address, port };
  if (host.includes(":") || endsInNumber.test(host) || !hostname.test(host)) return undefined;
  return { kind: "hostname", hostname: host.toLowerCase(), port };
}

export function formatAuthority({ address, port }: SocketAddress): string {
  return formatHostPort(address, port);
}

/** What listings show as the destination of a CONNECT. */
export function authorityDestination(authority: Authority): SocketAddress {
  return {
    address: authority.kind === "address" ? authority.address : authority.hostname,
    port: authority.port,
  };
}
