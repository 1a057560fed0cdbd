/**
 * Who an observed peer is, by the state of the mesh: a pod of it or not, somebody on a node, or somebody outside. Pure. Agents say what
 * they saw (an address, perhaps a workload); whose address that is may be known better here, where the whole mesh is.
 */
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import type { SeenPeer } from "./gather.ts";

/** The label that opts a pod in or out; `none` on the pod says that it was opted out on purpose. */
const modeLabel = "warren.dev/mode";

export type PeerKind =
  /** In the mesh. */
  | "enrolled"
  /** A pod that nobody enrolled. */
  | "not-enrolled"
  | "opted-out"
  /** Shares its node's network: the kubelet, a host-network pod, a program on the node. */
  | "host-network"
  /** No pod and no node of this cluster. */
  | "outside"
  /** The shared row of a port with too many peers. */
  | "others";

export interface PeerRow {
  readonly kind: PeerKind;
  readonly namespace: string;
  readonly pod: string;
  /** `Kind/name`; of a host-network peer the candidates, since the address alone doesn't tell which. */
  readonly owner: string;
  readonly node: string;
  readonly address: string;
  readonly identity: string;
}

/** Host-network pods by their node's addresses, and by their node; made once per report. */
export interface NodeAddresses {
  readonly byAddress: ReadonlyMap<string, { readonly node: string; readonly pods: readonly Workload[] }>;
  readonly byNode: ReadonlyMap<string, readonly Workload[]>;
}

export function nodeAddressesOf(view: MeshView): NodeAddresses {
  const byAddress = new Map<string, { node: string; pods: Workload[] }>();
  const byNode = new Map<string, Workload[]>();
  for (const workload of view.workloads()) {
    if (workload.hostNetwork) byNode.set(workload.node, [...(byNode.get(workload.node) ?? []), workload]);
    for (const address of workload.hostAddresses ?? []) {
      const known = byAddress.get(address) ?? { node: workload.node, pods: [] };
      byAddress.set(address, known);
      known.pods.push(workload);
    }
  }
  return { byAddress, byNode };
}

export function peerRow(view: MeshView, nodes: NodeAddresses, peer: SeenPeer): PeerRow {
  const { address, identity } = peer;
  const workload =
    (peer.workload === "" ? undefined : view.workload(peer.workload)) ??
    (address === "" ? undefined : view.workloadByAddress(address));
  if (workload !== undefined) {
    const { namespace, name: pod, owner, node } = workload;
    return { kind: kindOf(workload), namespace, pod, owner: `${owner.kind}/${owner.name}`, node, address, identity };
  }
  // It was a pod when it was seen, and has gone since.
  if (peer.name !== "") {
    const { namespace, name: pod, owner } = peer;
    return { kind: identity === "" ? "not-enrolled" : "enrolled", namespace, pod, owner, node: "", address, identity };
  }
  const nobody = { namespace: "", pod: "", owner: "", node: "", address, identity };
  if (address === "") return { ...nobody, kind: "others" };
  const host = nodes.byAddress.get(address) ?? ownAddress(nodes, peer);
  if (host === undefined) return { ...nobody, kind: "outside" };
  const [only] = host.pods;
  const owners = new Set(host.pods.map(({ namespace, owner }) => `${namespace}/${owner.kind}/${owner.name}`));
  if (only !== undefined && host.pods.length === 1) {
    const { namespace, name: pod, owner } = only;
    return { ...nobody, kind: "host-network", namespace, pod, owner: `${owner.kind}/${owner.name}`, node: host.node };
  }
  return { ...nobody, kind: "host-network", owner: [...owners].sort().join(" | "), node: host.node };
}

/** What an agent knows for its node's own address that no pod has: a bridge's, which neighbours on the node are seen by. */
function ownAddress({ byNode }: NodeAddresses, { hostNode: node }: SeenPeer) {
  return node === "" ? undefined : { node, pods: byNode.get(node) ?? [] };
}

function kindOf({ tunnel, hostNetwork, labels }: Workload): PeerKind {
  if (tunnel === "hbone") return "enrolled";
  if (hostNetwork) return "host-network";
  return labels.get(modeLabel) === "none" ? "opted-out" : "not-enrolled";
}

/** `namespace/pod`, with the address of whoever is none. */
export function peerText({ kind, namespace, pod, node, address }: PeerRow): string {
  if (kind === "others") return "(further peers)";
  if (kind === "host-network") return `${pod === "" ? "node" : `${namespace}/${pod}`} on ${node || "?"} (${address})`;
  return pod === "" ? address : `${namespace}/${pod}`;
}

/** What people call the workload: its owner, or the pod itself. */
export function ownerText({
  namespace,
  owner,
  pod,
  address,
}: Pick<PeerRow, "namespace" | "owner" | "pod" | "address">): string {
  if (owner === "" && pod === "") return address;
  return `${namespace}/${owner === "" ? pod : owner.slice(owner.indexOf("/") + 1)}`;
}
