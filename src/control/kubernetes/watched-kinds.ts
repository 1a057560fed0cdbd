/** The kinds of objects that control watches, and where their collections are. RBAC in `deploy/` grants list and watch on the same. */
import type { PieceKind } from "../../manifests/cluster-state.ts";

export interface WatchedKind {
  readonly kind: PieceKind | "ServiceAccount";
  readonly apiVersion: string;
  readonly plural: string;
  /** Defined by a CRD. */
  readonly optional: boolean;
}

const istio = "security.istio.io/v1";

/** Namespaces and Nodes first: the pods that follow need them to be complete. */
export const watchedKinds: readonly WatchedKind[] = [
  { kind: "Namespace", apiVersion: "v1", plural: "namespaces", optional: false },
  { kind: "Node", apiVersion: "v1", plural: "nodes", optional: false },
  { kind: "ServiceAccount", apiVersion: "v1", plural: "serviceaccounts", optional: false },
  { kind: "Pod", apiVersion: "v1", plural: "pods", optional: false },
  { kind: "Service", apiVersion: "v1", plural: "services", optional: false },
  { kind: "EndpointSlice", apiVersion: "discovery.k8s.io/v1", plural: "endpointslices", optional: false },
  { kind: "NetworkPolicy", apiVersion: "networking.k8s.io/v1", plural: "networkpolicies", optional: false },
  { kind: "PeerAuthentication", apiVersion: istio, plural: "peerauthentications", optional: true },
  { kind: "AuthorizationPolicy", apiVersion: istio, plural: "authorizationpolicies", optional: true },
];

/** The path of a collection, of one namespace or of the cluster, or with a name that of an object. */
export function apiPath(apiVersion: string, plural: string, namespace = "", name = ""): string {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const scope = namespace === "" ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${scope}/${plural}${name === "" ? "" : `/${encodeURIComponent(name)}`}`;
}
