/** The objects of a cluster as the few verbs change them that do: labels, and what Warren itself is made of. */
import { MeshError } from "../../lib/errors.ts";
import type { EnrolmentMode } from "../../manifests/translate/enrolment.ts";
import type { MeshGround } from "./mesh-client.ts";
import type { PodGround } from "./pod-ground.ts";

export interface LabelledObject {
  readonly kind: "Namespace" | "Pod";
  /** Empty for a Namespace. */
  readonly namespace: string;
  readonly name: string;
}

/** What makes pods from a template that may change while they run; a Job's may not. */
export type WorkloadKind = "Deployment" | "StatefulSet" | "DaemonSet";

export interface WorkloadObject {
  readonly kind: WorkloadKind;
  readonly namespace: string;
  readonly name: string;
}

export type EnrollableObject = LabelledObject | WorkloadObject;

export function isWorkload(object: EnrollableObject): object is WorkloadObject {
  return object.kind !== "Namespace" && object.kind !== "Pod";
}

export interface ClusterObjects {
  /** Sets the opt-in label of an object, or of a workload's pod template; undefined takes it away. */
  setMode(object: EnrollableObject, mode: EnrolmentMode | undefined, signal: AbortSignal): Promise<void>;
  /** Rejects when there is no such object. */
  podGround(object: Exclude<EnrollableObject, { kind: "Namespace" }>, signal: AbortSignal): Promise<PodGround>;
  /** Namespaces and pods that carry the label. */
  labelled(signal: AbortSignal): Promise<readonly LabelledObject[]>;
  /** Workloads whose pod template enrols the pods that it makes. */
  enrolledTemplates(signal: AbortSignal): Promise<readonly WorkloadObject[]>;
  /** Takes Warren's own parts away, agents first; tells each. What policies were written in stays. */
  removeMesh(told: (step: string) => void, signal: AbortSignal): Promise<void>;
}

export async function clusterObjects(ground: MeshGround): Promise<ClusterObjects> {
  switch (ground.kind) {
    case "lab": {
      const { labObjects } = await import("./lab-objects.ts");
      return labObjects(ground);
    }
    case "kubernetes": {
      const [{ ApiClient, apiClientDefaults }, { kubernetesObjects }] = [
        await import("../../control/kubernetes/api-client.ts"),
        await import("./kubernetes-objects.ts"),
      ];
      return kubernetesObjects(
        new ApiClient({ ...apiClientDefaults, context: ground.context ?? "" }),
        ground.meshNamespace,
      );
    }
    case "control":
      throw new MeshError(
        "MESH_CONFIG_CONTROL",
        "objects are changed through a lab or a kubeconfig, not through --control",
      );
  }
}

/** As people write it: `ns/shop`, `deploy/api.shop`. */
export function referenceOf({ kind, namespace, name }: EnrollableObject): string {
  const short = { Namespace: "ns", Pod: "pod", Deployment: "deploy", StatefulSet: "sts", DaemonSet: "ds" }[kind];
  return kind === "Namespace" ? `${short}/${name}` : `${short}/${name}.${namespace}`;
}
