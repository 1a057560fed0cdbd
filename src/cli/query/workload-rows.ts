/** Workloads as `warren workloads` lists them. Pure. */
import type { Workload } from "../../model/workload.ts";
import type { Pod } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import type { Listing } from "../output/listing.ts";

export interface WorkloadRow {
  readonly namespace: string;
  readonly name: string;
  readonly owner: string;
  readonly addresses: readonly string[];
  readonly node: string;
  readonly protocol: "HBONE" | "TCP";
  /** `captured`, `pending`, `failed`, `doubtful`, `leaving`; `unknown` when its agent was not heard; `not enrolled`. */
  readonly state: string;
  /** What captures it: `ebpf` or `nftables`. */
  readonly capture: string;
  readonly ready: boolean;
  readonly identity: string;
  readonly lastError: string;
}

export function workloadRow(workload: Workload, pod: Pod | undefined): WorkloadRow {
  const { namespace, name, owner, addresses, node, tunnel, ready, identity } = workload;
  return {
    namespace,
    name,
    owner: `${owner.kind}/${owner.name}`,
    addresses,
    node,
    protocol: tunnel === "hbone" ? "HBONE" : "TCP",
    state: pod?.state ?? (tunnel === "hbone" ? "unknown" : "not enrolled"),
    capture: pod?.capture ?? "",
    ready,
    identity,
    lastError: pod?.lastError ?? "",
  };
}

/** Peers send it tunnels, and its agent does not have it. */
export function isUncaptured({ protocol, state }: WorkloadRow): boolean {
  return protocol === "HBONE" && (state === "failed" || state === "doubtful");
}

export const workloadsListing: Listing<WorkloadRow> = {
  schema: "warren.workloads/v1",
  items: "workloads",
  columns: [
    { title: "NAMESPACE", cell: ({ namespace }) => namespace },
    { title: "POD NAME", cell: ({ name }) => name },
    { title: "OWNER", cell: ({ owner }) => owner, wide: true },
    { title: "ADDRESS", cell: ({ addresses }) => addresses.join(",") },
    { title: "NODE", cell: ({ node }) => node },
    { title: "PROTOCOL", cell: ({ protocol }) => protocol },
    {
      title: "STATE",
      cell: ({ state }) => state,
      style: (row, colours) => (isUncaptured(row) ? colours.red : undefined),
    },
    { title: "CAPTURE", cell: ({ capture }) => capture, wide: true },
    { title: "READY", cell: ({ ready }) => String(ready), wide: true },
    { title: "IDENTITY", cell: ({ identity }) => identity, wide: true },
    { title: "LAST ERROR", cell: ({ lastError }) => lastError, wide: true },
  ],
  name: ({ namespace, name }) => `pod/${name}.${namespace}`,
  none: "no workloads",
};
