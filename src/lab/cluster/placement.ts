/** Where pods go: the scheduler and the address book, as functions of what is there. */
import { clusterAddresses } from "../machine/addresses.ts";
import type { DualStack } from "../machine/network.ts";
import { matches, type Pod } from "./objects.ts";

const hostnameLabel = "kubernetes.io/hostname";

export type Placement =
  | { readonly kind: "node"; readonly node: string }
  | { readonly kind: "pending"; readonly why: string };

/**
 * Among the nodes that a pod may go to, the one with the fewest neighbours that it would rather avoid, then with the fewest pods, then
 * the first: pods spread evenly in the order of their manifests, and the same manifests always land the same way.
 */
export function place(pod: Pod, nodes: readonly string[], pods: readonly Pod[]): Placement {
  const { nodeName, nodeSelector = {} } = pod.spec;
  if (nodeName !== undefined)
    return nodes.includes(nodeName)
      ? { kind: "node", node: nodeName }
      : { kind: "pending", why: `nodeName ${nodeName} is not a node of this lab: ${nodes.join(", ")}` };
  const foreign = Object.keys(nodeSelector).filter((key) => key !== hostnameLabel);
  if (foreign.length > 0)
    return { kind: "pending", why: `no node has the label ${foreign.join(", ")}; nodes have ${hostnameLabel} alone` };
  const wanted = nodeSelector[hostnameLabel];
  const named = nodes.filter((node) => wanted === undefined || node === wanted);
  if (named.length === 0)
    return { kind: "pending", why: `no node is named ${wanted}; nodes of this lab: ${nodes.join(", ")}` };

  const { required, preferred } = antiAffinity(pod);
  const on = (node: string) => pods.filter((other) => other.spec.nodeName === node);
  const allowed = named.filter((node) => !on(node).some((other) => required.some((term) => avoids(pod, term, other))));
  const [first] = allowed;
  if (first === undefined)
    return { kind: "pending", why: "every node has a pod that its anti-affinity keeps away from; add nodes" };
  const cost = (node: string): [number, number] => [
    preferred
      .filter(({ term }) => on(node).some((other) => avoids(pod, term, other)))
      .reduce((sum, { weight }) => sum + weight, 0),
    on(node).length,
  ];
  const cheaper = ([a1, a2]: [number, number], [b1, b2]: [number, number]) => a1 < b1 || (a1 === b1 && a2 < b2);
  return {
    kind: "node",
    node: allowed.reduce((best, node) => (cheaper(cost(node), cost(best)) ? node : best), first),
  };
}

type AntiAffinity = NonNullable<NonNullable<Pod["spec"]["affinity"]>["podAntiAffinity"]>;
type Term = AntiAffinity["requiredDuringSchedulingIgnoredDuringExecution"][number];

function antiAffinity(pod: Pod): { required: readonly Term[]; preferred: { weight: number; term: Term }[] } {
  const given = pod.spec.affinity?.podAntiAffinity;
  return {
    required: given?.requiredDuringSchedulingIgnoredDuringExecution ?? [],
    preferred: (given?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(({ weight, podAffinityTerm }) => ({
      weight,
      term: podAffinityTerm,
    })),
  };
}

function avoids(pod: Pod, { namespaces, labelSelector }: Term, other: Pod): boolean {
  const { namespace = "" } = other.metadata;
  const scope = namespaces ?? [pod.metadata.namespace ?? ""];
  return scope.includes(namespace) && matches(labelSelector.matchLabels, other.metadata.labels);
}

/**
 * Host numbers of a node's pods. A number that became free is not given again until all others were, so that an address seldom
 * changes its meaning while somebody still remembers the old one.
 */
export class PodAddresses {
  readonly #node: number;
  readonly #taken = new Set<number>();
  #next: number = clusterAddresses.firstPod;

  constructor(nodeIndex: number) {
    this.#node = nodeIndex;
  }

  /** Undefined when the node's range is used up. */
  allocate(): (DualStack & { readonly host: number }) | undefined {
    const { firstPod, lastPod, pod } = clusterAddresses;
    const size = lastPod - firstPod + 1;
    for (let step = 0; step < size; step++) {
      const host = firstPod + ((this.#next - firstPod + step) % size);
      if (this.#taken.has(host)) continue;
      this.#taken.add(host);
      this.#next = host + 1;
      return { ...pod(this.#node, host), host };
    }
    return undefined;
  }

  release(host: number): void {
    this.#taken.delete(host);
  }
}
