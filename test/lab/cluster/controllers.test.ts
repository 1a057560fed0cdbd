import { describe, expect, it } from "vitest";
import { applyObjects, deleteObject, labelObject } from "../../../src/lab/cluster/apply.ts";
import { Controllers } from "../../../src/lab/cluster/controllers.ts";
import type { Pod, Service } from "../../../src/lab/cluster/objects.ts";
import { ObjectStore } from "../../../src/lab/cluster/store.ts";
import { readExample } from "../../../src/lab/examples.ts";
import { objectsOf, runningPod } from "../objects.ts";

function clusterOf(yaml: string) {
  const store = new ObjectStore();
  const events: string[] = [];
  const controllers = new Controllers({ store, event: (line) => events.push(line) }, { nodes: ["node-1", "node-2"] });
  const apply = (text: string) => {
    applyObjects(store, objectsOf(text));
    controllers.reconcile();
  };
  apply(yaml);
  return { store, events, controllers, apply };
}

const deployment = (replicas: number) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: api}}
  template: {metadata: {labels: {app: api}}, spec: {containers: [{name: c, command: [serve]}]}}
`;

const podYaml = (program: string, labels = "{}") => `
apiVersion: v1
kind: Pod
metadata: {name: lonely, labels: ${labels}}
spec: {containers: [{name: c, command: [${program}]}]}
`;

describe("Controllers", () => {
  it("bring the example shop to its nodes: servers apart from their clients", () => {
    const { store, events } = clusterOf(readExample("shop.yaml").text);
    const nodes = Object.fromEntries(
      store.list("Pod").map(({ metadata, spec }) => [metadata.labels?.["app"], spec.nodeName]),
    );
    expect(nodes).toEqual({
      frontend: "node-1",
      api: "node-2",
      database: "node-2",
      "legacy-service": "node-2",
      "iperf-client": "node-1",
      "iperf-server": "node-2",
      client: "node-1",
    });
    expect(events).toEqual([]);
  });

  it("make namespaces that objects name, with the label that selects them by name", () => {
    const { store } = clusterOf(deployment(1));
    expect(store.get("Namespace", undefined, "production")?.metadata.labels).toEqual({
      "kubernetes.io/metadata.name": "production",
    });
  });

  it("follow a Deployment's replicas", () => {
    const { store, apply } = clusterOf(deployment(3));
    expect(store.list("Pod").map((pod) => pod.spec.nodeName)).toEqual(["node-1", "node-2", "node-1"]);
    apply(deployment(1));
    expect(store.list("Pod").filter((pod) => pod.metadata.deletionTimestamp === undefined)).toHaveLength(1);
  });

  it("report a Deployment's ready pods on it", () => {
    const { store, controllers } = clusterOf(deployment(1));
    const [pod] = store.list("Pod");
    if (pod === undefined) throw new Error("no pod");
    const { status } = runningPod("x", ["10.244.1.2"]);
    store.put({ ...pod, ...(status && { status }) });
    controllers.reconcile();
    expect(store.get("Deployment", "production", "api")?.["status"]).toEqual({
      replicas: 1,
      readyReplicas: 1,
      availableReplicas: 1,
    });
  });

  it("take a deleted Deployment's pods away", () => {
    const { store, controllers } = clusterOf(deployment(2));
    deleteObject(store, "Deployment", "production", "api");
    controllers.reconcile();
    expect(store.list("ReplicaSet")).toEqual([]);
    expect(store.list("Pod").every((pod) => pod.metadata.deletionTimestamp !== undefined)).toBe(true);
  });

  it("remove a Service's slices with it", () => {
    const service =
      "{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {selector: {app: api}, ports: [{port: 80}]}}";
    const { store, controllers } = clusterOf(service);
    expect(store.list("EndpointSlice")).toHaveLength(1);
    deleteObject(store, "Service", "production", "api");
    controllers.reconcile();
    expect(store.list("EndpointSlice")).toEqual([]);
  });

  it("leave slices alone that somebody wrote by hand", () => {
    const { store } = clusterOf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand, labels: {kubernetes.io/service-name: external}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.77]}]
ports: [{port: 5432}]
`);
    expect(store.list("EndpointSlice").map((slice) => slice.metadata.name)).toEqual(["by-hand"]);
  });

  it("complain once about a pod that fits nowhere, and place it when it does", () => {
    const { store, events, controllers } = clusterOf(
      podYaml("sleep").replace("{containers", "{nodeSelector: {disk: ssd}, containers"),
    );
    controllers.reconcile();
    expect(events).toEqual([expect.stringContaining("Pod production/lonely: no node has the label disk")]);
    expect(store.get("Pod", "production", "lonely")?.spec.nodeName).toBeUndefined();
    deleteObject(store, "Pod", "production", "lonely");
    controllers.reconcile();
    expect(store.list("Pod")).toEqual([]);
  });

  it("do nothing when there is nothing to do", () => {
    const { store, controllers } = clusterOf(readExample("shop.yaml").text);
    let changes = 0;
    store.onChange(() => changes++);
    controllers.reconcile();
    expect(changes).toBe(0);
  });
});

describe("applyObjects", () => {
  it("keeps what the cluster filled in on a Service, and its identity", () => {
    const service = (port: number) =>
      `{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {ipFamilyPolicy: PreferDualStack, ports: [{port: ${port}}]}}`;
    const { store, apply } = clusterOf(service(80));
    const before = store.get("Service", "production", "api") as Service;
    apply(service(81));
    const after = store.get("Service", "production", "api") as Service;
    expect(after.spec).toMatchObject({ clusterIPs: before.spec.clusterIPs, ports: [{ port: 81 }] });
    expect(after.metadata.uid).toBe(before.metadata.uid);
  });

  it("changes a pod's labels in place and refuses to change its spec, before it takes anything", () => {
    const { store, apply } = clusterOf(podYaml("sleep"));
    const before = store.get("Pod", "production", "lonely") as Pod;
    apply(podYaml("sleep", "{a: b}"));
    const after = store.get("Pod", "production", "lonely") as Pod;
    expect(after.metadata).toMatchObject({ uid: before.metadata.uid, labels: { a: "b" } });
    expect(after.spec.nodeName).toBe("node-1");
    expect(() => apply(`${deployment(1)}\n---\n${podYaml("other")}`)).toThrow(
      /spec of pod production\/lonely cannot change/,
    );
    expect(store.list("Deployment")).toEqual([]);
  });

  it("refuses a pod that is still going", () => {
    const { store, apply } = clusterOf(podYaml("sleep"));
    deleteObject(store, "Pod", "production", "lonely");
    expect(() => apply(podYaml("sleep"))).toThrow(/is being deleted/);
  });
});

describe("deleteObject", () => {
  it("says that there is no such object", () => {
    const { store } = clusterOf(podYaml("sleep"));
    expect(() => deleteObject(store, "Service", "production", "nothing")).toThrow(/no Service production\/nothing/);
  });

  it("empties a namespace that goes", () => {
    const { store } = clusterOf(`${deployment(1)}\n---\n${podYaml("sleep")}`);
    deleteObject(store, "Namespace", undefined, "production");
    expect(store.list("Deployment")).toEqual([]);
    expect(store.list("Pod").every((pod) => pod.metadata.deletionTimestamp !== undefined)).toBe(true);
  });
});

describe("labelObject", () => {
  it("sets and removes labels and touches nothing else", () => {
    const { store } = clusterOf(podYaml("sleep", "{a: b, c: d}"));
    const pod = store.get("Pod", "production", "lonely") as Pod;
    labelObject(store, pod, { a: null, e: "f" });
    expect(store.get("Pod", "production", "lonely")).toEqual({
      ...pod,
      metadata: { ...pod.metadata, labels: { c: "d", e: "f" } },
    });
  });
});
