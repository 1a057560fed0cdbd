import type { SocketAddress } from "./address.ts";
import type { Identity } from "./identity.ts";
import type { Reason } from "./reason.ts";

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
  /** Undefined: whole namespace, or mesh in the root namespace, unless `targetServices` or `attached` say otherwise. */
  readonly matchLabels: ReadonlyMap<string, string> | undefined;
  /** Services (same namespace) whose workloads are selected; empty when the policy is not selected by Service. */
  readonly targetServices: readonly string[];
  /** Selects only workloads that name it in `attachedPolicies`. */
  readonly attached?: boolean;
  /** Said by sources that tell it apart from the namespace; absent: the whole mesh when it is in the root namespace. */
  readonly scope?: "mesh" | "namespace";
  readonly rules: readonly AuthorizationRule[];
  /** Why parts of the object cannot be evaluated; each names the field and the fix. */
  readonly problems: readonly string[];
}

/** What a policy can ask about an HTTP request. Names of `header` are lower case; a header sent twice has two values. */
export interface HttpRequestFacts {
  readonly method: string;
  /** Lower case, with the port if the client sent one. */
  readonly host: string;
  /** Normalised path without query and fragment. */
  readonly path: string;
  header(name: string): readonly string[];
}

/** One connection as it reaches the destination, with or without a request on it. */
export interface AuthorizationRequest {
  /** Proven by the peer's certificate; empty for plaintext. */
  readonly peer: Identity | "";
  readonly sourceAddress: string;
  /** The workload's own address and port: never a Service's. */
  readonly destination: SocketAddress;
  readonly http?: HttpRequestFacts;
}

/** An AUDIT or dry-run policy that matched: recorded, without effect. */
export interface ShadowMatch {
  /** `namespace/name`. */
  readonly policy: string;
  readonly action: "AUDIT" | "ALLOW" | "DENY";
}

/**
 * `needs-http`: the connection alone doesn't decide; each HTTP request on it must be asked about with `http` set. Who cannot do
 * that must refuse.
 */
export interface AuthorizationVerdict {
  readonly outcome: "allow" | "deny" | "needs-http";
  /** `ok`, `policy-denied` or `policy-unevaluable`. */
  readonly reason: Reason;
  /** `namespace/name` of the deciding policy; empty when the default decided. */
  readonly policy: string;
  /** Index of the deciding rule in its policy, -1 when none matched or the default decided. */
  readonly rule: number;
  readonly shadow: readonly ShadowMatch[];
}
