/** `security.istio.io/v1` PeerAuthentication as a plain value. */
export type PeerAuthenticationMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

export interface PeerAuthentication {
  readonly name: string;
  readonly namespace: string;
  /** Unix time in milliseconds; the oldest object wins a tie. */
  readonly createdAt: number;
  /** Undefined: the whole namespace, or the mesh in the root namespace. */
  readonly matchLabels: ReadonlyMap<string, string> | undefined;
  readonly mode: PeerAuthenticationMode;
  /** By workload port, only together with a selector. */
  readonly portModes: ReadonlyMap<number, PeerAuthenticationMode>;
}
