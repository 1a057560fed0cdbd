/**
 * The `forwarded` header of a CONNECT (RFC 7239): `for="ip:port"` is the application's own socket, `host=` the service that it
 * addressed. A peer's `for` is telemetry at most: who is calling is proven by TLS and by the TCP connection.
 */
import { formatHostPort } from "../../lib/host-port.ts";
import type { SocketAddress } from "../../model/address.ts";

/** RFC 9110 §5.6.2; other values are quoted. */
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

export function formatForwarded(source: SocketAddress, host: string): string {
  const from = `for="${formatHostPort(source.address, source.port)}"`;
  if (host === "") return from;
  return `${from};host=${token.test(host) ? host : `"${host.replaceAll(/["\\]/g, "\\$&")}"`}`;
}

const pair = /\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[^"\\]|\\.)*")\s*(;|,|$)/y;

/** The `host` of the first element, lower case; empty when there is none or the text is not a `forwarded` value. */
export function forwardedHost(text: string): string {
  pair.lastIndex = 0;
  let host = "";
  while (pair.lastIndex < text.length) {
    const match = pair.exec(text);
    if (match === null) return "";
    const [, name = "", value = "", end] = match;
    if (host === "" && name.toLowerCase() === "host") {
      host = (value.startsWith('"') ? value.slice(1, -1).replaceAll(/\\(.)/g, "$1") : value).toLowerCase();
    }
    if (end !== ";") break;
  }
  return host;
}
