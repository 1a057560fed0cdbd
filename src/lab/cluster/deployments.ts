/** The Deployment controller as a function: what must be made and what may go, given what is there. */
import { createHash } from "node:crypto";
import type { Deployment, Pod, ReplicaSet } from "./objects.ts";
import { isReady } from "./pod-status.ts";

export interface DeploymentPlan {
  readonly replicaSets: readonly ReplicaSet[];
  readonly createPods: readonly Pod[];
  readonly deletePods: readonly Pod[];
  readonly deleteReplicaSets: readonly ReplicaSet[];
}

/** Letters that the Kubernetes API makes name suffixes of: no vowels, no look-alikes. */
const safeLetters = "bcdfghjklmnpqrstvwxz2456789";

export function safeName(bytes: Uint8Array, length: number): string {
  return Array.from(bytes.subarray(0, length), (byte) => safeLetters[byte % safeLetters.length]).join("");
}

export function templateHash(deployment: Deployment): string {
  return safeName(createHash("sha256").update(JSON.stringify(deployment.spec.template)).digest(), 9);
}

/**
 * Pods of the current template are made at once; those of earlier templates go when all the new ones are ready, so that a Service
 * always has somebody behind it. `suffix` names pods.
 */
export function planDeployment(
  deployment: Deployment,
  replicaSets: readonly ReplicaSet[],
  pods: readonly Pod[],
  suffix: () => string,
): DeploymentPlan {
  const hash = templateHash(deployment);
  const name = `${deployment.metadata.name}-${hash}`;
  const ownSets = replicaSets.filter((set) => isOwnedBy(set, "Deployment", deployment));
  const current = ownSets.find((set) => set.metadata.name === name);
  const old = ownSets.filter((set) => set.metadata.name !== name);

  const madeBy = (set: ReplicaSet) => pods.filter((pod) => isOwnedBy(pod, "ReplicaSet", set));
  const alive = current === undefined ? [] : madeBy(current).filter((pod) => !isGoing(pod));
  const wanted = deployment.spec.replicas;
  const set = current ?? newReplicaSet(deployment, name, hash);
  // The set has no UID before it is stored: its pods are made on the next round, when it does.
  const missing = current === undefined ? 0 : Math.max(0, wanted - alive.length);
  const rolledOut = current !== undefined && alive.length >= wanted && alive.slice(0, wanted).every(isReady);
  const outdated = rolledOut ? old.flatMap((oldSet) => madeBy(oldSet)).filter((pod) => !isGoing(pod)) : [];
  return {
    replicaSets: current?.spec.replicas === wanted ? [] : [{ ...set, spec: { ...set.spec, replicas: wanted } }],
    createPods: Array.from({ length: missing }, () => podOf(set, `${name}-${suffix()}`)),
    deletePods: [...alive.slice(wanted), ...outdated],
    deleteReplicaSets: old.filter((oldSet) => madeBy(oldSet).length === 0),
  };
}

/** The replica sets and pods that a deleted Deployment leaves behind. */
export function orphans(
  deployments: readonly Deployment[],
  replicaSets: readonly ReplicaSet[],
  pods: readonly Pod[],
): { replicaSets: ReplicaSet[]; pods: Pod[] } {
  const lostSets = replicaSets.filter((set) => isOwned(set, "Deployment", deployments) === false);
  const keptSets = replicaSets.filter((set) => !lostSets.includes(set));
  return {
    replicaSets: lostSets,
    pods: pods.filter((pod) => !isGoing(pod) && isOwned(pod, "ReplicaSet", keptSets) === false),
  };
}

/** Pods of all templates that a Deployment had, by owner. */
export function podsOf(deployment: Owned, replicaSets: readonly ReplicaSet[], pods: readonly Pod[]): Pod[] {
  const own = replicaSets.filter((set) => isOwnedBy(set, "Deployment", deployment));
  return pods.filter((pod) => own.some((set) => isOwnedBy(pod, "ReplicaSet", set)));
}

interface Owned {
  readonly metadata: Pod["metadata"];
}

export function isGoing(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp !== undefined;
}

/** Undefined when nobody of that kind owns it. */
function isOwned(object: Owned, kind: string, owners: readonly Owned[]): boolean | undefined {
  const reference = object.metadata.ownerReferences?.find((owner) => owner.kind === kind);
  return reference && owners.some((owner) => isOwnedBy(object, kind, owner));
}

function isOwnedBy(object: Owned, kind: string, owner: Owned): boolean {
  return (
    object.metadata.namespace === owner.metadata.namespace &&
    (object.metadata.ownerReferences ?? []).some(
      (reference) => reference.kind === kind && reference["uid"] === owner.metadata.uid,
    )
  );
}

function ownerReference(apiVersion: string, kind: string, owner: Owned) {
  return [
    {
      apiVersion,
      kind,
      name: owner.metadata.name,
      uid: owner.metadata.uid,
      controller: true,
      blockOwnerDeletion: true,
    },
  ];
}

function newReplicaSet(deployment: Deployment, name: string, hash: string): ReplicaSet {
  const { namespace } = deployment.metadata;
  const { template, selector, replicas } = deployment.spec;
  const labels = { ...template.metadata.labels, "pod-template-hash": hash };
  return {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels,
      ownerReferences: ownerReference("apps/v1", "Deployment", deployment),
    },
    spec: {
      replicas,
      selector: { ...selector, matchLabels: { ...selector.matchLabels, "pod-template-hash": hash } },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}

function podOf(set: ReplicaSet, name: string): Pod {
  const { namespace } = set.metadata;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...set.spec.template.metadata,
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ownerReferences: ownerReference("apps/v1", "ReplicaSet", set),
    },
    spec: set.spec.template.spec,
  };
}
