/** What control sees in the cluster that works against the mesh. Pure over the mesh. */
import type { NetworkPolicy, PortVerdict } from "../../model/network-policy.ts";
import { hbonePort } from "../../model/ports.ts";
import type { Workload } from "../../model/workload.ts";

/** The part of the mesh that findings are made from. */
export interface ClusterView {
  workloads(): Iterable<Workload>;
  /** NetworkPolicies that select a workload. */
  networkPoliciesOf(workload: Workload): readonly NetworkPolicy[];
}

export interface ClusterFinding {
  readonly code: "network-policy-blocks-hbone";
  /** `namespace/name` of the workload. */
  readonly object: string;
  readonly message: string;
  readonly direction: "ingress" | "egress";
}

/** A cluster where everything is wrong should not need a message of megabytes. */
const most = 1000;

export function clusterFindings(view: ClusterView): ClusterFinding[] {
  const findings: ClusterFinding[] = [];
  for (const workload of view.workloads()) {
    if (workload.tunnel !== "hbone") continue;
    const policies = view.networkPoliciesOf(workload);
    for (const direction of ["ingress", "egress"] as const) {
      const verdicts = policies.map(({ hbone }): PortVerdict => hbone?.[direction] ?? "untouched");
      // Policies add up: what one lets pass, passes.
      if (!verdicts.includes("closes") || verdicts.includes("opens")) continue;
      const names = policies.filter(({ hbone }) => hbone?.[direction] === "closes").map(({ name }) => name);
      const way = direction === "ingress" ? "from peers" : "to peers";
      findings.push({
        code: "network-policy-blocks-hbone",
        object: `${workload.namespace}/${workload.name}`,
        direction,
        message: `NetworkPolicy ${names.sort().join(", ")} lets no tunnel (TCP ${hbonePort}) pass ${way}; allow that port`,
      });
      if (findings.length >= most) return findings;
    }
  }
  return findings;
}
