/** The objects of a cluster as the few verbs change them that do: labels, and what Warren itself is made of. */

import type { KubernetesApi, RawObject } from "../../control/kubernetes/api.ts";
import { MeshError } from "../../lib/errors.ts";
import { modeLabel, partOfLabel, partOfWarren } from "../../manifests/translate/enrolment.ts";
import type { MeshGround } from "./mesh-client.ts";

export interface LabelledObject {
  readonly kind: "Namespace" | "Pod";
  /** Empty for a Namespace. */
  readonly namespace: string;
  readonly name: string;
}

export interface ClusterObjects {
  /** Sets the opt-in label; undefined takes it away. */
  setMode(object: LabelledObject, mode: "ambient" | "none" | undefined, signal: AbortSignal): Promise<void>;
  /** Namespaces and pods that carry the label. */
  labelled(signal: AbortSignal): Promise<readonly LabelledObject[]>;
  /** Takes Warren's own parts away, agents first; tells each. What policies were written in stays. */
  removeMesh(told: (step: string) => void, signal: AbortSignal): Promise<void>;
}

export async function clusterObjects(ground: MeshGround): Promise<ClusterObjects> {
  switch (ground.kind) {
    case "lab":
      return labObjects(ground.name);
    case "kubernetes": {
      const { ApiClient, apiClientDefaults } = await import("../../control/kubernetes/api-client.ts");
      return kubernetesObjects(new ApiClient({ ...apiClientDefaults, context: ground.context ?? "" }));
    }
    case "control":
      throw new MeshError(
        "MESH_CONFIG_CONTROL",
        "objects are changed through a lab or a kubeconfig, not through --control",
      );
  }
}

async function labObjects(name: string): Promise<ClusterObjects> {
  const { clientOf } = await import("../../lab/verbs/choose.ts");
  const lab = clientOf(name);
  return {
    setMode: ({ kind, namespace, name: object }, mode) =>
      lab.label(kind, namespace === "" ? undefined : namespace, object, { [modeLabel]: mode ?? null }),
    labelled: async () => (await lab.labelled(modeLabel)).objects,
    removeMesh: async (told) => {
      for (const { name: node } of (await lab.status()).nodes) {
        await lab.agent(node, "stop");
        told(`the agent of ${node} has stopped`);
      }
    },
  };
}

const meshNamespace = "warren-system";

/**
 * In this order: agents go while control is still there to hear of it, and rights last. What is ours carries `part-of`. The namespace,
 * CRDs, policies and Secrets stay: with them goes what people wrote, and the root that everything was proven by.
 */
const collections = [
  { kind: "DaemonSet", group: "/apis/apps/v1", plural: "daemonsets", namespaced: true },
  { kind: "Deployment", group: "/apis/apps/v1", plural: "deployments", namespaced: true },
  { kind: "Service", group: "/api/v1", plural: "services", namespaced: true },
  { kind: "PodDisruptionBudget", group: "/apis/policy/v1", plural: "poddisruptionbudgets", namespaced: true },
  { kind: "NetworkPolicy", group: "/apis/networking.k8s.io/v1", plural: "networkpolicies", namespaced: true },
  { kind: "ConfigMap", group: "/api/v1", plural: "configmaps", namespaced: true },
  ...["validatingadmissionpolicybindings", "validatingadmissionpolicies"].map((plural) => {
    const kind = plural.endsWith("bindings") ? "ValidatingAdmissionPolicyBinding" : "ValidatingAdmissionPolicy";
    return { kind, group: "/apis/admissionregistration.k8s.io/v1", plural, namespaced: false };
  }),
  { kind: "RoleBinding", group: "/apis/rbac.authorization.k8s.io/v1", plural: "rolebindings", namespaced: true },
  { kind: "Role", group: "/apis/rbac.authorization.k8s.io/v1", plural: "roles", namespaced: true },
  { kind: "ServiceAccount", group: "/api/v1", plural: "serviceaccounts", namespaced: true },
  {
    kind: "ClusterRoleBinding",
    group: "/apis/rbac.authorization.k8s.io/v1",
    plural: "clusterrolebindings",
    namespaced: false,
  },
  { kind: "ClusterRole", group: "/apis/rbac.authorization.k8s.io/v1", plural: "clusterroles", namespaced: false },
] as const;

export function kubernetesObjects(api: KubernetesApi): ClusterObjects {
  const pathOf = ({ kind, namespace, name }: LabelledObject) =>
    kind === "Namespace"
      ? `/api/v1/namespaces/${encodeURIComponent(name)}`
      : `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
  const list = async (kind: LabelledObject["kind"], path: string, signal: AbortSignal) => {
    const found = await api.call({ method: "GET", path, query: { labelSelector: modeLabel } }, signal);
    return itemsOf(found).map(({ namespace, name }): LabelledObject => ({ kind, namespace, name }));
  };
  return {
    setMode: async (object, mode, signal) => {
      const body = { metadata: { labels: { [modeLabel]: mode ?? null } } };
      const contentType = "application/merge-patch+json";
      await api.call({ method: "PATCH", path: pathOf(object), body, contentType }, signal);
    },
    labelled: async (signal) => [
      ...(await list("Namespace", "/api/v1/namespaces", signal)),
      ...(await list("Pod", "/api/v1/pods", signal)),
    ],
    removeMesh: async (told, signal) => {
      const query = { labelSelector: `${partOfLabel}=${partOfWarren}` };
      for (const { kind, group, plural, namespaced } of collections) {
        const path = `${group}${namespaced ? `/namespaces/${meshNamespace}` : ""}/${plural}`;
        for (const { name } of itemsOf(await api.call({ method: "GET", path, query }, signal))) {
          const one = `${path}/${encodeURIComponent(name)}`;
          await api.call({ method: "DELETE", path: one, query: { propagationPolicy: "Foreground" } }, signal);
          told(`${kind} ${name} is removed`);
        }
      }
    },
  };
}

function itemsOf(list: RawObject): { namespace: string; name: string }[] {
  const items = Array.isArray(list["items"]) ? (list["items"] as unknown[]) : [];
  return items.flatMap((item) => {
    const metadata = (item as { metadata?: { name?: unknown; namespace?: unknown } }).metadata;
    const { name, namespace = "" } = metadata ?? {};
    return typeof name === "string" && typeof namespace === "string" ? [{ namespace, name }] : [];
  });
}
