/** A TCP address: canonical IP text (RFC 5952 for IPv6, no v4-mapped forms) and port. */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}
