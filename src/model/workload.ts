import type { Identity } from "./identity.ts";

/** `cluster/group/kind/namespace/name`, as discovery names a workload. */
export type WorkloadUid = string & { readonly __workload: true };

export function podWorkloadUid(cluster: string, namespace: string, name: string): WorkloadUid {
  return `${cluster}//Pod/${namespace}/${name}` as WorkloadUid;
}

/** `topology.kubernetes.io/region` and `/zone` of a node; empty where the node does not say. */
export interface Locality {
  readonly region: string;
  readonly zone: string;
}

/** Something with an address that can be a source or destination: a pod. */
export interface Workload {
  readonly uid: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly trustDomain: string;
  readonly identity: Identity;
  readonly node: string;
  /** Where the node stands; absent when that is not known. */
  readonly locality?: Locality;
  readonly cluster: string;
  /** Canonical IP texts. Empty for host-network workloads: their address is the node's and says nothing about them. */
  readonly addresses: readonly string[];
  readonly hostNetwork: boolean;
  /** Of host-network workloads: the node's addresses, which say that a client is on that node and not which of its programs it is. */
  readonly hostAddresses?: readonly string[];
  readonly labels: ReadonlyMap<string, string>;
  /** The controller that owns the pod, e.g. Deployment `api`; the pod itself when nobody does. */
  readonly owner: { readonly kind: string; readonly name: string };
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  /** `hbone`: enrolled, its agent takes tunnels. `none`: peers send plaintext. */
  readonly tunnel: "hbone" | "none";
  readonly ready: boolean;
  /**
   * `namespace/name` of AuthorizationPolicies that discovery attached by name, when it selects by name and not by label. A name
   * that nobody knows refuses everything: it may be the one policy that denies.
   */
  readonly attachedPolicies?: readonly string[];
}

/** A pod of one node, as its agent needs it to enrol (`warren.node.v1.LocalPod`). */
export interface LocalPod {
  /** Kubernetes pod UID. */
  readonly uid: string;
  readonly workload: WorkloadUid;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly identity: Identity;
  /** Empty while the cluster does not know them: the pod's sandbox is being made. */
  readonly addresses: readonly string[];
  readonly failOpen: boolean;
  /** Ports that the kubelet probes, for kubelets whose cgroup is shared with other things. */
  readonly probePorts: readonly number[];
  /** Said by sources that tell of NetworkPolicies only whom they select; absent when it isn't known so. */
  readonly networkPolicy?: "none" | "selected";
}
