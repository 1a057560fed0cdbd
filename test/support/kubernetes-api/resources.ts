/** The resources that the double serves: what a path means, and how its objects are framed. */

export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Status is written through the subresource alone. */
  readonly status: boolean;
  /** Defined by a CRD: 404 until that is installed, and served again without a restart. */
  readonly custom: boolean;
}

function resource(
  groupVersion: string,
  plural: string,
  kind: string,
  options: { cluster?: true; status?: true; custom?: true } = {},
): Resource {
  const slash = groupVersion.indexOf("/");
  return {
    group: slash === -1 ? "" : groupVersion.slice(0, slash),
    version: groupVersion.slice(slash + 1),
    plural,
    kind,
    namespaced: options.cluster !== true,
    status: options.status === true,
    custom: options.custom === true,
  };
}

const admission = "admissionregistration.k8s.io/v1";
const rbac = "rbac.authorization.k8s.io/v1";

export const resources: readonly Resource[] = [
  resource("v1", "namespaces", "Namespace", { cluster: true, status: true }),
  resource("v1", "nodes", "Node", { cluster: true, status: true }),
  resource("v1", "pods", "Pod", { status: true }),
  resource("v1", "services", "Service", { status: true }),
  resource("v1", "serviceaccounts", "ServiceAccount"),
  resource("v1", "secrets", "Secret"),
  resource("v1", "configmaps", "ConfigMap"),
  resource("v1", "events", "Event"),
  resource("v1", "resourcequotas", "ResourceQuota", { status: true }),
  resource("events.k8s.io/v1", "events", "Event"),
  resource("apps/v1", "deployments", "Deployment", { status: true }),
  resource("apps/v1", "daemonsets", "DaemonSet", { status: true }),
  resource("apps/v1", "statefulsets", "StatefulSet", { status: true }),
  resource("batch/v1", "jobs", "Job", { status: true }),
  resource("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", { status: true }),
  resource("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
  resource("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
  resource("coordination.k8s.io/v1", "leases", "Lease"),
  resource("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", { cluster: true }),
  resource("certificates.k8s.io/v1", "clustertrustbundles", "ClusterTrustBundle", { cluster: true }),
  resource("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", {
    cluster: true,
    status: true,
  }),
  resource(admission, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", { cluster: true, status: true }),
  resource(admission, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", { cluster: true }),
  resource(rbac, "clusterroles", "ClusterRole", { cluster: true }),
  resource(rbac, "clusterrolebindings", "ClusterRoleBinding", { cluster: true }),
  resource(rbac, "roles", "Role"),
  resource(rbac, "rolebindings", "RoleBinding"),
  resource("security.istio.io/v1", "peerauthentications", "PeerAuthentication", { status: true, custom: true }),
  resource("security.istio.io/v1", "authorizationpolicies", "AuthorizationPolicy", { status: true, custom: true }),
];

export function resourceOf(group: string, plural: string): Resource | undefined {
  return resources.find((known) => known.group === group && known.plural === plural);
}

export function resourceOfKind(apiVersion: string, kind: string): Resource | undefined {
  return resources.find((known) => known.kind === kind && apiVersionOf(known) === apiVersion);
}

export function apiVersionOf({ group, version }: Pick<Resource, "group" | "version">): string {
  return group === "" ? version : `${group}/${version}`;
}

/** The path of a collection, or with a name of one object. */
export function pathOf(resource: Resource, namespace = "", name = "", subresource = ""): string {
  const { group, version, plural, namespaced } = resource;
  const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const scope = namespaced && namespace !== "" ? `/namespaces/${namespace}` : "";
  return `${root}${scope}/${plural}${name === "" ? "" : `/${name}`}${subresource === "" ? "" : `/${subresource}`}`;
}
