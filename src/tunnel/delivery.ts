/** The last step of both inbound deciders: what AuthorizationPolicies say, then delivery with the client's own address. */
import type { SocketAddress } from "../model/address.ts";
import type { ShadowMatch } from "../model/authorization.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { LocalPod, Workload } from "../model/workload.ts";
import type { RememberField } from "./engine.ts";
import type { DialVerdict, RefuseVerdict, VerdictBase } from "./verdict.ts";

/** A connection that reached an enrolled pod, with or without proof of who sent it. */
export interface Arrival {
  readonly pod: LocalPod;
  readonly workload: Workload;
  readonly source: Workload | undefined;
  readonly peer: Identity | "";
  readonly sourceAddress: string;
  readonly dependsOn: readonly RememberField[];
}

function baseOf({ pod, workload, source, dependsOn }: Arrival): VerdictBase {
  return {
    source,
    destinations: new Map(pod.addresses.map((address) => [address, workload])),
    service: undefined,
    policy: "",
    shadow: [],
    dependsOn,
  };
}

type Refuse = (reason: Reason, policy?: string, shadow?: readonly ShadowMatch[]) => RefuseVerdict;

export function refuser(arrival: Arrival): Refuse {
  return (reason, policy = "", shadow = []) => ({ ...baseOf(arrival), kind: "refuse", reason, policy, shadow });
}

export function deliver(view: MeshView, arrival: Arrival, destination: SocketAddress): DialVerdict | RefuseVerdict {
  const { peer, sourceAddress, workload } = arrival;
  const { outcome, reason, policy, shadow } = view.authorize(workload, { peer, sourceAddress, destination });
  switch (outcome) {
    case "allow":
      return {
        ...baseOf(arrival),
        kind: "dial",
        policy,
        shadow,
        targets: [{ destination, weight: 1 }],
        purpose: "deliver",
        sourceAddress,
      };
    case "deny":
      return refuser(arrival)(reason, policy, shadow);
    case "needs-http":
      // Nobody here reads requests, so what only a request could decide stays closed.
      return refuser(arrival)("policy-unevaluable", policy, shadow);
  }
}
