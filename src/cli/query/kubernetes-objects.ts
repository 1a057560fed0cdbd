/** A cluster's objects through its API, with the rights of whoever runs the verb. */
import { z } from "zod";
import type { KubernetesApi, RawObject } from "../../control/kubernetes/api.ts";
import { type EnrolmentMode, modeLabel, partOfLabel, partOfWarren } from "../../manifests/translate/enrolment.ts";
import {
  type ClusterObjects,
  type EnrollableObject,
  isWorkload,
  type LabelledObject,
  type WorkloadObject,
} from "./cluster-objects.ts";
import { readPodGround } from "./pod-ground.ts";

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

const templated = z.looseObject({
  spec: z.looseObject({ template: z.record(z.string(), z.unknown()) }),
});

export function kubernetesObjects(api: KubernetesApi, meshNamespace: string): ClusterObjects {
  const list = async (kind: LabelledObject["kind"], path: string, signal: AbortSignal) => {
    const found = await api.call({ method: "GET", path, query: { labelSelector: modeLabel } }, signal);
    return itemsOf(found).map(({ namespace, name }): LabelledObject => ({ kind, namespace, name }));
  };
  return {
    setMode: async (object, mode, signal) => {
      const metadata = { labels: { [modeLabel]: mode ?? null } };
      const body = isWorkload(object) ? { spec: { template: { metadata } } } : { metadata };
      const contentType = "application/merge-patch+json";
      await api.call({ method: "PATCH", path: pathOf(object), body, contentType }, signal);
    },
    podGround: async (object, signal) => {
      const home = pathOf({ kind: "Namespace", namespace: "", name: object.namespace });
      const found = await api.call({ method: "GET", path: pathOf(object) }, signal);
      const namespace = await api.call({ method: "GET", path: home }, signal);
      return readPodGround(isWorkload(object) ? templated.parse(found).spec.template : found, object, namespace);
    },
    labelled: async (signal) => [
      ...(await list("Namespace", "/api/v1/namespaces", signal)),
      ...(await list("Pod", "/api/v1/pods", signal)),
    ],
    enrolledTemplates: async (signal) => {
      const found: WorkloadObject[] = [];
      for (const kind of ["Deployment", "StatefulSet", "DaemonSet"] as const) {
        // What a template says can't be asked for, so all are read.
        const all = await api.call({ method: "GET", path: collectionOf[kind].replace("/namespaces/NS", "") }, signal);
        found.push(...itemsOf(all, enrolsPods).map(({ namespace, name }) => ({ kind, namespace, name })));
      }
      return found;
    },
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

const collectionOf = {
  Pod: "/api/v1/namespaces/NS/pods",
  Deployment: "/apis/apps/v1/namespaces/NS/deployments",
  StatefulSet: "/apis/apps/v1/namespaces/NS/statefulsets",
  DaemonSet: "/apis/apps/v1/namespaces/NS/daemonsets",
} as const;

function pathOf({ kind, namespace, name }: EnrollableObject): string {
  if (kind === "Namespace") return `/api/v1/namespaces/${encodeURIComponent(name)}`;
  return `${collectionOf[kind].replace("NS", encodeURIComponent(namespace))}/${encodeURIComponent(name)}`;
}

const enrolling = z.looseObject({
  spec: z.looseObject({
    template: z.looseObject({
      metadata: z.looseObject({ labels: z.looseObject({ [modeLabel]: z.literal("ambient" satisfies EnrolmentMode) }) }),
    }),
  }),
});

function enrolsPods(item: unknown): boolean {
  return enrolling.safeParse(item).success;
}

function itemsOf(
  list: RawObject,
  wanted: (item: unknown) => boolean = () => true,
): { namespace: string; name: string }[] {
  const items = Array.isArray(list["items"]) ? (list["items"] as unknown[]) : [];
  return items.filter(wanted).flatMap((item) => {
    const metadata = (item as { metadata?: { name?: unknown; namespace?: unknown } }).metadata;
    const { name, namespace = "" } = metadata ?? {};
    return typeof name === "string" && typeof namespace === "string" ? [{ namespace, name }] : [];
  });
}
