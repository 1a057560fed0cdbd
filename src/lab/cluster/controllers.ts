/**
 * The controllers of the lab's cluster: what a Kubernetes control plane does between a manifest and a pod that a kubelet may start.
 * Each is a function of what is stored; this runs them over the store until none has anything left to do.
 */
import { randomBytes } from "node:crypto";
import { messageOf } from "../../lib/errors.ts";
import { isGoing, orphans, planDeployment, podsOf, safeName } from "./deployments.ts";
import { endpointSlicesOf, isManaged } from "./endpoints.ts";
import type { ClusterObject, EndpointSlice, Pod } from "./objects.ts";
import { place } from "./placement.ts";
import { isReady } from "./pod-status.ts";
import { allocateAddresses } from "./service-addresses.ts";
import { type ObjectStore, timestamp } from "./store.ts";

export interface ControllerDeps {
  readonly store: ObjectStore;
  readonly event: (line: string) => void;
}

/** Rounds until rest: more would mean two controllers that undo each other's work. */
const roundLimit = 20;

export class Controllers {
  readonly #deps: ControllerDeps;
  readonly #nodes: readonly string[];
  readonly #complained = new Set<string>();

  constructor(deps: ControllerDeps, options: { readonly nodes: readonly string[] }) {
    this.#deps = deps;
    this.#nodes = options.nodes;
  }

  reconcile(): void {
    let changed = true;
    const unsubscribe = this.#deps.store.onChange(() => {
      changed = true;
    });
    try {
      for (let round = 0; changed; round++) {
        if (round === roundLimit) throw new Error("the lab's controllers do not come to rest");
        changed = false;
        this.#namespaces();
        this.#services();
        this.#deployments();
        this.#schedule();
        this.#endpoints();
      }
    } finally {
      unsubscribe();
    }
  }

  /** Objects may name namespaces that nobody wrote a manifest for. */
  #namespaces(): void {
    const { store } = this.#deps;
    const wanted = new Set<string>();
    for (const object of store.all())
      if (object.metadata.namespace !== undefined) wanted.add(object.metadata.namespace);
    for (const name of wanted) {
      const known = store.get("Namespace", undefined, name);
      const label = "kubernetes.io/metadata.name";
      if (known?.metadata.labels?.[label] === name) continue;
      store.put({
        ...(known ?? { apiVersion: "v1", kind: "Namespace" }),
        metadata: { ...known?.metadata, name, labels: { ...known?.metadata.labels, [label]: name } },
      });
    }
  }

  #services(): void {
    const { store } = this.#deps;
    const services = store.list("Service");
    const taken = new Set(services.flatMap((service) => service.spec.clusterIPs ?? [service.spec.clusterIP ?? ""]));
    for (const service of services) {
      try {
        const allocated = allocateAddresses(service, taken);
        if (allocated === undefined) continue;
        for (const address of allocated.spec.clusterIPs ?? []) taken.add(address);
        store.put(allocated);
      } catch (error) {
        this.#complain(service, messageOf(error));
      }
    }
  }

  #deployments(): void {
    const { store } = this.#deps;
    const deployments = store.list("Deployment");
    const pods = store.list("Pod");
    const replicaSets = store.list("ReplicaSet");
    for (const deployment of deployments) {
      const plan = planDeployment(deployment, replicaSets, pods, () => safeName(randomBytes(5), 5));
      for (const set of plan.replicaSets) store.put(set);
      for (const pod of plan.createPods) store.put(pod);
      for (const pod of plan.deletePods) beginDeletion(store, pod);
      for (const set of plan.deleteReplicaSets) this.#delete(set);
      const own = podsOf(deployment, replicaSets, pods).filter((pod) => !isGoing(pod));
      const ready = own.filter(isReady).length;
      const status = { replicas: own.length, readyReplicas: ready, availableReplicas: ready };
      if (JSON.stringify(deployment["status"]) !== JSON.stringify(status)) store.put({ ...deployment, status });
    }
    const lost = orphans(deployments, store.list("ReplicaSet"), store.list("Pod"));
    for (const pod of lost.pods) beginDeletion(store, pod);
    for (const set of lost.replicaSets) this.#delete(set);
  }

  #schedule(): void {
    const { store } = this.#deps;
    for (const pod of store.list("Pod")) {
      if (isGoing(pod)) {
        // A pod without a node has no kubelet that would end it.
        if (!this.#nodes.includes(pod.spec.nodeName ?? "")) this.#delete(pod);
        continue;
      }
      if (pod.spec.nodeName !== undefined && this.#nodes.includes(pod.spec.nodeName)) continue;
      const others = store.list("Pod").filter((other) => !isGoing(other));
      const placement = place(pod, this.#nodes, others);
      if (placement.kind === "node") store.put({ ...pod, spec: { ...pod.spec, nodeName: placement.node } });
      else this.#complain(pod, placement.why);
    }
  }

  #endpoints(): void {
    const { store } = this.#deps;
    const pods = store.list("Pod");
    const wanted = new Map<string, EndpointSlice>();
    for (const service of store.list("Service"))
      for (const slice of endpointSlicesOf(service, pods))
        wanted.set(`${slice.metadata.namespace}/${slice.metadata.name}`, slice);
    for (const known of store.list("EndpointSlice")) {
      if (!isManaged(known)) continue;
      const key = `${known.metadata.namespace}/${known.metadata.name}`;
      const slice = wanted.get(key);
      if (slice === undefined) this.#delete(known);
      else if (sameSlice(slice, known)) wanted.delete(key);
    }
    for (const slice of wanted.values()) store.put(slice);
  }

  #delete(object: ClusterObject): void {
    this.#deps.store.delete(object.kind, object.metadata.namespace, object.metadata.name);
  }

  /** Each complaint once: the controllers run often. */
  #complain(object: ClusterObject, why: string): void {
    const line = `${object.kind} ${object.metadata.namespace}/${object.metadata.name}: ${why}`;
    if (this.#complained.has(line)) return;
    this.#complained.add(line);
    this.#deps.event(line);
  }
}

/** Marks a pod as going; its kubelet ends and removes it. */
export function beginDeletion(store: ObjectStore, pod: Pod): void {
  if (isGoing(pod)) return;
  store.put({ ...pod, metadata: { ...pod.metadata, deletionTimestamp: timestamp(new Date()) } });
}

function sameSlice(a: EndpointSlice, b: EndpointSlice): boolean {
  const essence = ({ addressType, endpoints, ports, metadata }: EndpointSlice) =>
    JSON.stringify([addressType, endpoints, ports, metadata.labels, metadata.ownerReferences]);
  return essence(a) === essence(b);
}
