/** The pods that each node is told of as its own, and which of them NetworkPolicies select: agents are told no NetworkPolicies, only that. */
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import type { WorkloadUid } from "../../model/workload.ts";
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

export class LocalPods {
  readonly #deps: LocalPodsDeps;
  /** Workloads that some NetworkPolicy selects. */
  readonly #selected = new Set<WorkloadUid>();
  /** Names of the pods that each node was told of. */
  readonly #told = new Map<string, ReadonlySet<string>>();

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
    const names = new Set<string>();
    for (const pod of view.localPods(node)) {
      const networkPolicy = this.#selected.has(pod.workload) ? "selected" : "none";
      encoder.put("localPod", pod.uid, () => encodeLocalPod({ ...pod, networkPolicy }), node);
      names.add(pod.uid);
    }
    for (const name of this.#told.get(node) ?? []) {
      // It may be another node's by now.
      if (!names.has(name) && store.get("localPod", name)?.node === node) encoder.drop("localPod", name);
    }
    if (names.size === 0) this.#told.delete(node);
    else this.#told.set(node, names);
  }
}
