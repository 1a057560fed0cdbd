/**
 * The pods that each node is told of as its own, and which of them NetworkPolicies select: agents are told no NetworkPolicies, only that.
 * A pod that comes or goes costs its node a look at the others, which are told again only if they are others than before.
 */
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import type { LocalPod, WorkloadUid } from "../../model/workload.ts";
import { encodeLocalPod } from "../../xds/resources/local-pod.ts";
import type { Dirty } from "./dirty.ts";
import type { ResourceEncoder } from "./resource-encoder.ts";
import type { ResourceStore } from "./resource-store.ts";

export interface LocalPodsDeps {
  readonly view: MeshIndex;
  readonly store: ResourceStore;
  readonly encoder: ResourceEncoder;
}

/** Called between two objects: lets others run when it is time. */
export type Breath = () => Promise<void> | undefined;

/** What a node was told of, by name: the index keeps a pod's object as long as nothing about it changes. */
interface ToldPods {
  readonly pods: Map<string, LocalPod>;
  /** Of those that some NetworkPolicy selects. */
  readonly selected: Set<string>;
}

export class LocalPods {
  readonly #deps: LocalPodsDeps;
  /** Workloads that some NetworkPolicy selects. */
  readonly #selected = new Set<WorkloadUid>();
  readonly #told = new Map<string, ToldPods>();

  constructor(deps: LocalPodsDeps) {
    this.#deps = deps;
  }

  async update(dirty: Dirty, breath: Breath): Promise<void> {
    await this.#findSelected(dirty, breath);
    for (const node of dirty.nodes) {
      this.#updateNode(node);
      await breath();
    }
  }

  async #findSelected(dirty: Dirty, breath: Breath): Promise<void> {
    const { view } = this.#deps;
    const namespaces = new Set([...dirty.networkPolicies].map((key) => key.slice(0, key.indexOf("/"))));
    const touched = new Set(dirty.workloads);
    for (const namespace of namespaces) {
      for (const { uid } of view.workloadsIn(namespace)) {
        touched.add(uid);
        await breath();
      }
    }
    for (const uid of touched) {
      await breath();
      const workload = view.workload(uid);
      const selected = workload !== undefined && view.networkPolicySelects(workload);
      if (selected === this.#selected.has(uid)) continue;
      if (selected) this.#selected.add(uid);
      else this.#selected.delete(uid);
      if (workload !== undefined) dirty.nodes.add(workload.node);
    }
  }

  #updateNode(node: string): void {
    const { view, store, encoder } = this.#deps;
    const told = this.#told.get(node) ?? { pods: new Map<string, LocalPod>(), selected: new Set<string>() };
    const names = new Set<string>();
    for (const pod of view.localPods(node)) {
      const { uid } = pod;
      names.add(uid);
      const selected = this.#selected.has(pod.workload);
      if (told.pods.get(uid) === pod && told.selected.has(uid) === selected) continue;
      const networkPolicy = selected ? "selected" : "none";
      if (!encoder.put("localPod", uid, () => encodeLocalPod({ ...pod, networkPolicy }), node)) continue;
      told.pods.set(uid, pod);
      if (selected) told.selected.add(uid);
      else told.selected.delete(uid);
    }
    for (const name of told.pods.keys()) {
      if (names.has(name)) continue;
      told.pods.delete(name);
      told.selected.delete(name);
      // It may be another node's by now.
      if (store.get("localPod", name)?.node === node) encoder.drop("localPod", name);
    }
    if (told.pods.size === 0) this.#told.delete(node);
    else this.#told.set(node, told);
  }
}
