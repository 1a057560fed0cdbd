/**
 * The mesh as one agent sees it: what deciders read. A view is consistent and immutable for the caller during one decision; each
 * change makes a larger epoch. Sources: discovery (`xds/`), a folder of manifests (`manifests/`), a cluster's API (`control/kubernetes/`).
 */
import type { AuthorizationPolicy, AuthorizationRequest, AuthorizationVerdict } from "./authorization.ts";
import type { Identity } from "./identity.ts";
import type { PeerAuthentication, PeerAuthenticationMode } from "./peer-authentication.ts";
import type { Service, ServiceEndpoint } from "./service.ts";
import type { LocalPod, Workload, WorkloadUid } from "./workload.ts";

export interface MeshSettings {
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  readonly clusterDomain: string;
  readonly cluster: string;
  /** Policies in this namespace without a selector hold for the whole mesh. */
  readonly rootNamespace: string;
  /** `mtls`: pods of one node talk through the tunnel too. `auto`: without TLS inside the node where that is safe. */
  readonly localTraffic: "mtls" | "auto";
  /** What holds for workloads that no ALLOW policy selects. */
  readonly defaultAction: "allow" | "deny";
  /** Identities that are refused everywhere, whatever certificate they show. */
  readonly deniedIdentities: readonly Identity[];
  /** Revocation lists of the mesh's authorities, concatenated PEM; empty for none. */
  readonly crl: string;
  /** Roots to trust, PEM. Empty: those that come with the certificates. */
  readonly trustBundle: string;
  /**
   * SHA-256 of the root that certificates are issued from, hexadecimal: one that leads elsewhere is renewed at once, which is how a new
   * root comes into use. Empty: renew when it is time.
   */
  readonly issuingRoot: string;
}

/** The part that an authority says; until one does, or where another mesh's issues the certificates, nothing. */
export type AuthoritySettings = Pick<MeshSettings, "crl" | "trustBundle" | "issuingRoot">;
export const noAuthoritySettings: AuthoritySettings = { crl: "", trustBundle: "", issuingRoot: "" };

/** The effective mode of a workload's port, and the object that set it (`namespace/name`, empty for the default). */
export interface EffectiveMode {
  readonly mode: Exclude<PeerAuthenticationMode, "UNSET">;
  readonly policy: string;
}

export interface MeshView {
  readonly epoch: number;
  readonly settings: MeshSettings;
  workload(uid: WorkloadUid): Workload | undefined;
  workloadByAddress(ip: string): Workload | undefined;
  workloads(): Iterable<Workload>;
  serviceByAddress(ip: string): Service | undefined;
  serviceByHostname(namespace: string, hostname: string): Service | undefined;
  services(): Iterable<Service>;
  /** Ready endpoints of a service port; empty when there are none, undefined when the service has no such port. */
  endpoints(service: Service, port: number): readonly ServiceEndpoint[] | undefined;
  /** Services that the workload stands behind, ready or not. */
  servicesOf(workload: Workload): Iterable<Service>;
  /** Enrolled pods of a node. */
  localPods(node: string): Iterable<LocalPod>;
  /** Effective PeerAuthentication of a workload's port. */
  inboundMode(workload: Workload, port: number): EffectiveMode;
  /** What the AuthorizationPolicies of a workload say about one connection, or one HTTP request on it. */
  authorize(workload: Workload, request: AuthorizationRequest): AuthorizationVerdict;
  /** True if requests on this port are what policy is about: an enforced rule with HTTP attributes may concern it. */
  readsHttp(workload: Workload, port: number): boolean;
  /** AuthorizationPolicies that select a workload, for listings and explanations. */
  authorizationFor(workload: Workload): readonly AuthorizationPolicy[];
  authorizationPolicies(): Iterable<AuthorizationPolicy>;
  peerAuthentications(): Iterable<PeerAuthentication>;
  /**
   * True if a NetworkPolicy selects the workload, or may: then its traffic must cross the network, where the plugin that enforces
   * it sees it.
   */
  networkPolicySelects(workload: Workload): boolean;
}

/** What became different with an epoch, so that a listener need not compare the whole mesh. Removed things are named too. */
export interface MeshChange {
  readonly epoch: number;
  readonly settings: boolean;
  readonly workloads: ReadonlySet<WorkloadUid>;
  /** `namespace/hostname` of services that changed themselves or in their endpoints. */
  readonly services: ReadonlySet<string>;
  /** `namespace/name`. */
  readonly authorizationPolicies: ReadonlySet<string>;
  readonly peerAuthentications: ReadonlySet<string>;
  readonly networkPolicies: ReadonlySet<string>;
  /** Nodes whose set of local pods changed. */
  readonly nodes: ReadonlySet<string>;
  /** Workloads for which policy may now say something else about traffic that they accept. */
  readonly policyScope: ReadonlySet<WorkloadUid> | "all";
  /** The same, asked about one workload as it is now, and more exactly: of policies that changed only those count that select it. */
  concerns(workload: Workload): boolean;
}

/** Where views come from. */
export interface MeshSource {
  readonly view: MeshView;
  /** Called after `view` was replaced or changed in place. */
  onChange(listener: (change: MeshChange) => void): () => void;
  /** Resolves when the first complete state is in force. */
  start(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}
