import type { Socket } from "node:net";

/**
 * The descriptor of a connected socket, for the question of who is at the other end; undefined when it is closed. Node has no public way to
 * it; the handle's field has been there since its beginnings.
 */
export function descriptorOf(socket: Socket): number | undefined {
  const handle = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle;
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined;
}
