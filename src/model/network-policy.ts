/**
 * `networking.k8s.io/v1` NetworkPolicy, as far as the mesh must know it: whom it selects. What it allows is the network plugin's to
 * enforce, and only on packets that the plugin gets to see.
 */
export interface NetworkPolicy {
  readonly name: string;
  readonly namespace: string;
  /** Empty selects the whole namespace. `matchExpressions` narrow further and are left out: too many count as selected, never too few. */
  readonly matchLabels: ReadonlyMap<string, string>;
  /** What it means for tunnels to and from the pods it selects; absent when it could not be read. */
  readonly hbone?: { readonly ingress: PortVerdict; readonly egress: PortVerdict };
}

/** `opens`: some rule lets the port pass, for some peer. `closes`: it restricts the direction and no rule does. */
export type PortVerdict = "untouched" | "opens" | "closes";
