/** Node's addresses of a socket as the mesh writes them. */
import type { Socket } from "node:net";
import { canonicalIp } from "../../lib/ip.ts";
import type { SocketAddress } from "../../model/address.ts";

/** The other end; an empty address if the connection is gone already. */
export function peerOf(socket: Socket): SocketAddress {
  return addressOf(socket.remoteAddress, socket.remotePort);
}

function addressOf(address: string | undefined, port: number | undefined): SocketAddress {
  // A link-local peer's zone (`fe80::1%eth0`) is this machine's name for a link, no part of the address.
  const text = (address ?? "").replace(/%.*$/, "");
  return { address: canonicalIp(text) ?? text, port: port ?? 0 };
}
