/** Names of pods as people write them: `deploy/api`, `pod/api-7c…`, or just `api`; `outside/deploy/client` in another namespace. */
import { MeshError } from "../../lib/errors.ts";
import { isGoing, podsOf } from "./deployments.ts";
import type { Pod } from "./objects.ts";
import { isReady } from "./pod-status.ts";
import type { ObjectStore } from "./store.ts";

export interface PodReference {
  readonly namespace: string;
  /** Undefined: a pod of that name, or else a Deployment's. */
  readonly kind: "pod" | "deployment" | undefined;
  readonly name: string;
}

const kinds: Readonly<Record<string, PodReference["kind"]>> = {
  po: "pod",
  pod: "pod",
  pods: "pod",
  deploy: "deployment",
  deployment: "deployment",
  deployments: "deployment",
};

/** A single word before the slash is a kind if it is one's name, and a namespace otherwise. */
export function parseReference(reference: string, currentNamespace: string): PodReference | undefined {
  const words = reference.split("/");
  const name = words.pop() ?? "";
  const kind = kinds[words.at(-1) ?? ""];
  if (kind !== undefined) words.pop();
  const [namespace = currentNamespace, ...more] = words;
  return name === "" || namespace === "" || more.length > 0 ? undefined : { namespace, kind, name };
}

export function findPod(store: ObjectStore, reference: string, currentNamespace: string): Pod {
  const parsed = parseReference(reference, currentNamespace);
  const pod = parsed && parsed.kind !== "deployment" ? store.get("Pod", parsed.namespace, parsed.name) : undefined;
  if (pod !== undefined) return pod;
  const owned = parsed && parsed.kind !== "pod" ? podOfDeployment(store, parsed.namespace, parsed.name) : undefined;
  if (owned !== undefined) return owned;
  const there = store.list("Pod").map((other) => `${other.metadata.namespace}/${other.metadata.name}`);
  throw new MeshError(
    "MESH_LAB_NOT_FOUND",
    `there is no pod for ${reference} (in namespace ${parsed?.namespace ?? currentNamespace}); pods of the lab: ${there.join(", ") || "none"}`,
  );
}

/** A ready one if there is any. */
function podOfDeployment(store: ObjectStore, namespace: string, name: string): Pod | undefined {
  const deployment = store.get("Deployment", namespace, name);
  if (deployment === undefined) return undefined;
  const pods = podsOf(deployment, store.list("ReplicaSet"), store.list("Pod")).filter((pod) => !isGoing(pod));
  return pods.find(isReady) ?? pods[0];
}
