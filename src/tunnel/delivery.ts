/** The last step of both inbound deciders: what policy says, then delivery with the client's own address. */
import type { SocketAddress } from "../model/address.ts";
import type { ShadowMatch } from "../model/authorization.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { LocalPod, Workload } from "../model/workload.ts";
import { refusedByTransport } from "../policy/transport.ts";
import { serviceOf } from "../routing/service-of.ts";
import type { RememberField } from "./engine.ts";
import type { DialVerdict, HandOverVerdict, HttpStance, RefuseVerdict, VerdictBase } from "./verdict.ts";

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
  return refuserFrom(baseOf(arrival));
}

function refuserFrom(base: VerdictBase): Refuse {
  return (reason, policy = "", shadow = []) => ({ ...base, kind: "refuse", reason, policy, shadow });
}

/**
 * A connection that policy lets in whatever it says goes the native way. On a port with HTTP rules every other one is handed over, a
 * refused identity too: its client is owed an HTTP answer.
 */
export function deliver(
  view: MeshView,
  arrival: Arrival,
  destination: SocketAddress,
  http: HttpStance,
): DialVerdict | HandOverVerdict | RefuseVerdict {
  const { peer, sourceAddress, workload } = arrival;
  const base: VerdictBase = { ...baseOf(arrival), service: serviceOf(view, workload, destination) };
  const refuse = refuserFrom(base);
  const refused = refusedByTransport(view, workload, { peer, destination });
  if (refused !== undefined) return refuse(refused.reason, refused.policy);
  const { outcome, reason, policy, shadow } = view.authorize(workload, { peer, sourceAddress, destination });
  if (outcome === "allow") {
    const targets = [{ destination, weight: 1 }];
    return { ...base, kind: "dial", policy, shadow, targets, purpose: "deliver", sourceAddress };
  }
  if (http === "enforced" && view.readsHttp(workload, destination.port)) {
    // Who handed a flow over must know it by its event, so the engine may not repeat this alone.
    return { ...base, kind: "hand-over", reason, policy, shadow, dependsOn: undefined };
  }
  // Nobody here reads requests, so what only a request could decide stays closed.
  return refuse(outcome === "needs-http" ? "policy-unevaluable" : reason, policy, shadow);
}
