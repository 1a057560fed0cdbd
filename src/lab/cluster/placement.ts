/** Where pods go: the scheduler and the address book, as functions of what is there. */
import { clusterAddresses } from "../machine/addresses.ts";
import type { DualStack } from "../machine/network.ts";
import type { Pod } from "./objects.ts";

const hostnameLabel = "kubernetes.io/hostname";

export type Placement =
  | { readonly kind: "node"; readonly node: string }
  | { readonly kind: "pending"; readonly why: string };

/**
 * The node with the fewest pods takes the next one, the first of them on a tie: pods spread evenly in the order of their manifests,
 * and the same manifests always land the same way.
 */
export function place(pod: Pod, nodes: readonly string[], podsOn: (node: string) => number): Placement {
  const { nodeName, nodeSelector = {} } = pod.spec;
  if (nodeName !== undefined)
    return nodes.includes(nodeName)
      ? { kind: "node", node: nodeName }
      : { kind: "pending", why: `nodeName ${nodeName} is not a node of this lab: ${nodes.join(", ")}` };
  const foreign = Object.keys(nodeSelector).filter((key) => key !== hostnameLabel);
  if (foreign.length > 0)
    return { kind: "pending", why: `no node has the label ${foreign.join(", ")}; nodes have ${hostnameLabel} alone` };
  const wanted = nodeSelector[hostnameLabel];
  const fitting = nodes.filter((node) => wanted === undefined || node === wanted);
  const [first] = fitting;
  if (first === undefined)
    return { kind: "pending", why: `no node is named ${wanted}; nodes of this lab: ${nodes.join(", ")}` };
  return { kind: "node", node: fitting.reduce((best, node) => (podsOn(node) < podsOn(best) ? node : best), first) };
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
