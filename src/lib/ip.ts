/**
 * IP addresses and CIDR blocks as canonical text: dotted IPv4, RFC 5952 IPv6, and IPv4-mapped IPv6 (RFC 4291 §2.5.5.2) always
 * unwrapped, so that one host has one name. Only strict texts are read: no octal or short IPv4 forms, no zone ids.
 */
import ipaddr from "ipaddr.js";

export type IpFamily = 4 | 6;

/** A block of addresses; `bytes` has the network's bits only. */
export interface Cidr {
  readonly family: IpFamily;
  /** Network address, 4 or 16 bytes, host bits cleared. */
  readonly bytes: readonly number[];
  readonly prefixLength: number;
}

function parse(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  if (!text.includes(":") || text.includes("%") || !ipaddr.IPv6.isValid(text)) return undefined;
  const six = ipaddr.IPv6.parse(text);
  return six.isIPv4MappedAddress() ? six.toIPv4Address() : six;
}

/** The address in its one canonical text; undefined if the text is not an address. */
export function canonicalIp(text: string): string | undefined {
  // What is read as dotted IPv4 is canonical: no octet has leading zeros.
  if (dottedBytes(text) !== undefined) return text;
  const ip = parse(text);
  if (ip === undefined) return undefined;
  return ip instanceof ipaddr.IPv6 ? ip.toRFC5952String() : ip.toString();
}

/** Bytes in network order: 4 or, for IPv6 that is not IPv4-mapped, 16. */
export function ipBytes(text: string): readonly number[] | undefined {
  return dottedBytes(text) ?? parse(text)?.toByteArray();
}

const zero = 48;
const nine = 57;
const dot = 46;

/** Dotted IPv4 without the general parser: this is asked once per connection, and of every pod. */
function dottedBytes(text: string): number[] | undefined {
  const bytes: number[] = [];
  let start = 0;
  for (let at = 0; at <= text.length; at += 1) {
    const code = at === text.length ? dot : text.charCodeAt(at);
    if (code !== dot) {
      if (code < zero || code > nine) return undefined;
      continue;
    }
    const length = at - start;
    if (length < 1 || length > 3 || (length > 1 && text.charCodeAt(start) === zero)) return undefined;
    const byte = Number(text.slice(start, at));
    if (byte > 255) return undefined;
    bytes.push(byte);
    start = at + 1;
  }
  return bytes.length === 4 ? bytes : undefined;
}

/** Family of a canonical text. */
export function ipFamily(canonical: string): IpFamily {
  return canonical.includes(":") ? 6 : 4;
}

/** Canonical text of 4 or 16 bytes. */
export function ipFromBytes(bytes: Uint8Array | readonly number[]): string | undefined {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) return undefined;
  const ip = ipaddr.fromByteArray([...bytes]);
  if (!(ip instanceof ipaddr.IPv6)) return ip.toString();
  return ip.isIPv4MappedAddress() ? ip.toIPv4Address().toString() : ip.toRFC5952String();
}

/** Reads `address/length`, or a bare address as a block of one. Host bits are allowed and cleared, as Kubernetes and Istio do. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  const address = slash === -1 ? text : text.slice(0, slash);
  const ip = parse(address);
  if (ip === undefined) return undefined;
  const bytes = ip.toByteArray();
  const family: IpFamily = bytes.length === 4 ? 4 : 6;
  let prefixLength = bytes.length * 8;
  if (slash !== -1) {
    const length = text.slice(slash + 1);
    if (!/^(?:0|[1-9]\d{0,2})$/.test(length)) return undefined;
    // A mapped block's length counts from the IPv6 start; below 96 it would hold more than IPv4 and has no IPv4 form.
    prefixLength = family === 4 && address.includes(":") ? Number(length) - 96 : Number(length);
    if (prefixLength < 0 || prefixLength > bytes.length * 8) return undefined;
  }
  return { family, bytes: maskBits(bytes, prefixLength), prefixLength };
}

function maskBits(bytes: readonly number[], prefixLength: number): number[] {
  return bytes.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefixLength - index * 8));
    return byte & (0xff << (8 - bits)) & 0xff;
  });
}

/** True if the address, given as bytes, lies in the block; never across families. */
export function cidrContains(cidr: Cidr, address: readonly number[]): boolean {
  if (address.length !== cidr.bytes.length) return false;
  let left = cidr.prefixLength;
  for (let index = 0; left > 0; index += 1, left -= 8) {
    const mask = left >= 8 ? 0xff : (0xff << (8 - left)) & 0xff;
    if (((address[index] ?? 0) & mask) !== cidr.bytes[index]) return false;
  }
  return true;
}

export function formatCidr(cidr: Cidr): string {
  return `${ipFromBytes(cidr.bytes) ?? ""}/${cidr.prefixLength}`;
}

/** 127.0.0.0/8 and ::1. */
export function isLoopback(canonical: string): boolean {
  return canonical === "::1" || canonical.startsWith("127.");
}
