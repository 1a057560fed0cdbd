/**
 * `security.istio.io/v1` AuthorizationPolicy as a plain value. Values keep their text; matching compiles them.
 * A field the object had and this model cannot express lands in `problems`: the policy then denies what it selects.
 */
export type AuthorizationAction = "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";

export interface AuthorizationSource {
  readonly principals: readonly string[];
  readonly notPrincipals: readonly string[];
  readonly serviceAccounts: readonly string[];
  readonly notServiceAccounts: readonly string[];
  readonly namespaces: readonly string[];
  readonly notNamespaces: readonly string[];
  readonly trustDomains: readonly string[];
  readonly notTrustDomains: readonly string[];
  readonly ipBlocks: readonly string[];
  readonly notIpBlocks: readonly string[];
  readonly remoteIpBlocks: readonly string[];
  readonly notRemoteIpBlocks: readonly string[];
  readonly requestPrincipals: readonly string[];
  readonly notRequestPrincipals: readonly string[];
}

export interface AuthorizationOperation {
  readonly ports: readonly string[];
  readonly notPorts: readonly string[];
  readonly hosts: readonly string[];
  readonly notHosts: readonly string[];
  readonly methods: readonly string[];
  readonly notMethods: readonly string[];
  readonly paths: readonly string[];
  readonly notPaths: readonly string[];
}

export interface AuthorizationCondition {
  readonly key: string;
  readonly values: readonly string[];
  readonly notValues: readonly string[];
}

/** `from`, `to` and `when` are ANDed; entries of `from` and of `to` are ORed; fields of one entry are ANDed. */
export interface AuthorizationRule {
  readonly from: readonly AuthorizationSource[];
  readonly to: readonly AuthorizationOperation[];
  readonly when: readonly AuthorizationCondition[];
}

export interface AuthorizationPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly createdAt: number;
  readonly action: AuthorizationAction;
  readonly dryRun: boolean;
  /** Undefined: whole namespace, or mesh in the root namespace. */
  readonly matchLabels: ReadonlyMap<string, string> | undefined;
  /** Services (same namespace) whose workloads are selected. */
  readonly targetServices: readonly string[];
  readonly rules: readonly AuthorizationRule[];
  /** Why parts of the object cannot be evaluated; each names the field and the fix. */
  readonly problems: readonly string[];
}
