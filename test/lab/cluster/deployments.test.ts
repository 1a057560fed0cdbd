import { describe, expect, it } from "vitest";
import { orphans, planDeployment, templateHash } from "../../../src/lab/cluster/deployments.ts";
import { type Deployment, deploymentSchema, type Pod, type ReplicaSet } from "../../../src/lab/cluster/objects.ts";
import { objectOf, runningPod } from "../objects.ts";

function deploymentOf(replicas: number, image = "a"): Deployment {
  const deployment = objectOf(
    deploymentSchema,
    `
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}, annotations: {note: kept}}
    spec: {containers: [{name: c, image: ${image}, command: [serve]}]}
`,
  );
  return { ...deployment, metadata: { ...deployment.metadata, uid: "deployment-uid" } };
}

let names = 0;
const suffix = () => `s${names++}`;

function stored(set: ReplicaSet): ReplicaSet {
  return { ...set, metadata: { ...set.metadata, uid: `uid-of-${set.metadata.name}` } };
}

function firstSet(deployment: Deployment): ReplicaSet {
  const [set] = planDeployment(deployment, [], [], suffix).replicaSets;
  if (set === undefined) throw new Error("no replica set planned");
  return stored(set);
}

function podOfSet(set: ReplicaSet, name: string, ready = true): Pod {
  const pod = runningPod(name, ["10.244.1.2"], { ready });
  const ownerReferences = [{ kind: "ReplicaSet", name: set.metadata.name, uid: set.metadata.uid }];
  return { ...pod, metadata: { ...pod.metadata, ownerReferences } };
}

describe("planDeployment", () => {
  it("makes the replica set before its pods, so that they can name it", () => {
    const deployment = deploymentOf(2);
    const plan = planDeployment(deployment, [], [], suffix);
    expect(plan.createPods).toEqual([]);
    expect(plan.replicaSets).toHaveLength(1);
    expect(plan.replicaSets[0]?.metadata).toMatchObject({
      name: `api-${templateHash(deployment)}`,
      ownerReferences: [{ kind: "Deployment", name: "api", uid: "deployment-uid", controller: true }],
    });
  });

  it("makes missing pods from the template, owned through the set", () => {
    const deployment = deploymentOf(2);
    const set = firstSet(deployment);
    const plan = planDeployment(deployment, [set], [podOfSet(set, "one")], suffix);
    expect(plan.createPods).toHaveLength(1);
    const [pod] = plan.createPods;
    expect(pod?.metadata).toMatchObject({
      namespace: "production",
      labels: { app: "api", "pod-template-hash": templateHash(deployment) },
      annotations: { note: "kept" },
      ownerReferences: [{ kind: "ReplicaSet", name: set.metadata.name, uid: set.metadata.uid }],
    });
    expect(pod?.metadata.name.startsWith(`${set.metadata.name}-`)).toBe(true);
  });

  it("takes pods away when there are more than wanted", () => {
    const set = firstSet(deploymentOf(2));
    const pods = ["one", "two"].map((name) => podOfSet(set, name));
    const plan = planDeployment(deploymentOf(1), [set], pods, suffix);
    expect(plan.deletePods.map((pod) => pod.metadata.name)).toEqual(["two"]);
    expect(plan.replicaSets[0]?.spec.replicas).toBe(1);
  });

  it("replaces a pod that is going", () => {
    const deployment = deploymentOf(1);
    const set = firstSet(deployment);
    const pod = podOfSet(set, "one");
    const going = { ...pod, metadata: { ...pod.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } };
    expect(planDeployment(deployment, [set], [going], suffix).createPods).toHaveLength(1);
  });

  it.each([
    [false, []],
    [true, ["old"]],
  ])("keeps pods of an old template until the new ones are ready (%s)", (ready, expected) => {
    const oldSet = firstSet(deploymentOf(1, "old-image"));
    const deployment = deploymentOf(1, "new-image");
    const newSet = firstSet(deployment);
    const pods = [podOfSet(oldSet, "old"), podOfSet(newSet, "new", ready)];
    const plan = planDeployment(deployment, [oldSet, newSet], pods, suffix);
    expect(plan.deletePods.map((pod) => pod.metadata.name)).toEqual(expected);
    expect(plan.deleteReplicaSets).toEqual([]);
  });

  it("removes an old replica set when its pods are gone", () => {
    const oldSet = firstSet(deploymentOf(1, "old-image"));
    const deployment = deploymentOf(1, "new-image");
    const newSet = firstSet(deployment);
    const plan = planDeployment(deployment, [oldSet, newSet], [podOfSet(newSet, "new")], suffix);
    expect(plan.deleteReplicaSets).toEqual([oldSet]);
  });

  it("plans nothing when all is as wanted", () => {
    const deployment = deploymentOf(1);
    const set = firstSet(deployment);
    expect(planDeployment(deployment, [set], [podOfSet(set, "one")], suffix)).toEqual({
      replicaSets: [],
      createPods: [],
      deletePods: [],
      deleteReplicaSets: [],
    });
  });
});

describe("orphans", () => {
  it("finds what a deleted Deployment left, and nothing that is owned or was made by hand", () => {
    const deployment = deploymentOf(1);
    const set = firstSet(deployment);
    const pod = podOfSet(set, "one");
    const byHand = runningPod("by-hand", []);
    expect(orphans([deployment], [set], [pod, byHand])).toEqual({ replicaSets: [], pods: [] });
    expect(orphans([], [set], [pod, byHand])).toEqual({ replicaSets: [set], pods: [pod] });
  });
});
