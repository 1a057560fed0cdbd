/** Outbound: a connection that an application in an enrolled pod made, accepted on 15001. */
import type { SocketAddress } from "../model/address.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Service } from "../model/service.ts";
import type { LocalPod, Workload } from "../model/workload.ts";
import { type HboneTarget, type PlainTarget, type RouteTarget, routeOutbound } from "../routing/route.ts";
import { hold, nobody, type Verdict, type VerdictBase } from "./verdict.ts";

/** `draw` is a number from 0 to 1, used only where tunnelled and plain endpoints stand behind one Service. */
export function decideOutbound(view: MeshView, pod: LocalPod, destination: SocketAddress, draw: number): Verdict {
  const source = view.workload(pod.workload);
  if (source === undefined) return hold;
  const route = routeOutbound(view, source.uid, destination);
  const base: VerdictBase = {
    source,
    destinations: nobody,
    service: undefined,
    policy: "",
    shadow: [],
    dependsOn: ["destination"],
  };
  switch (route.kind) {
    case "refused":
      return { ...base, kind: "refuse", reason: route.reason, service: route.service };
    case "pass-through": {
      const targets = [{ destination: route.destination, weight: 1 }];
      return { ...base, kind: "dial", targets, purpose: "leave", sourceAddress: undefined };
    }
    case "to":
      return reach(base, route.service, route.targets, draw);
  }
}

/** One decision carries or dials, never both: with endpoints of both kinds their weights decide which kind this flow gets. */
function reach(
  base: VerdictBase,
  service: Service | undefined,
  targets: readonly RouteTarget[],
  draw: number,
): Verdict {
  const tunnelled = targets.filter((target): target is HboneTarget => target.via === "hbone");
  const plain = targets.filter((target): target is PlainTarget => target.via === "plain");
  const mixed = tunnelled.length > 0 && plain.length > 0;
  const carry = mixed ? draw * weightOf(targets) < weightOf(tunnelled) : tunnelled.length > 0;
  const dependsOn = mixed ? undefined : base.dependsOn;
  if (carry) {
    return {
      ...base,
      kind: "carry",
      service,
      dependsOn,
      destinations: new Map(tunnelled.map(({ peer, workload }) => [peer.address, workload])),
      targets: tunnelled.map(({ peer, workload, authority, weight }) => ({
        peer,
        expected: workload.identity,
        authority,
        weight,
      })),
    };
  }
  return {
    ...base,
    kind: "dial",
    service,
    dependsOn,
    purpose: "leave",
    sourceAddress: undefined,
    destinations: new Map(
      plain.flatMap(({ destination, workload }): [string, Workload][] =>
        workload === undefined ? [] : [[destination.address, workload]],
      ),
    ),
    targets: plain.map(({ destination, weight }) => ({ destination, weight })),
  };
}

function weightOf(targets: readonly RouteTarget[]): number {
  return targets.reduce((sum, { weight }) => sum + weight, 0);
}
