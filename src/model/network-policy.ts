/**
 * `networking.k8s.io/v1` NetworkPolicy, as far as the mesh must know it: whom it selects. What it allows is the network plugin's to
 * enforce, and only on packets that the plugin gets to see.
 */
export interface NetworkPolicy {
  readonly name: string;
  readonly namespace: string;
  /** Empty selects the whole namespace. `matchExpressions` narrow further and are left out: too many count as selected, never too few. */
  readonly matchLabels: ReadonlyMap<string, string>;
}
