/** Outbound: a connection that an application in an enrolled pod made, accepted on 15001. */
import type { SocketAddress } from "../model/address.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Service } from "../model/service.ts";
import type { LocalPod, Workload } from "../model/workload.ts";
import { type HboneTarget, type PlainTarget, type RouteTarget, routeOutbound } from "../routing/route.ts";
import { judgeLocal, type LocalPods } from "./local.ts";
import { type DialVerdict, hold, nobody, type Verdict, type VerdictBase } from "./verdict.ts";

/** `draw` is a number from 0 to 1, used only where endpoints that are reached in different ways stand behind one Service. */
export function decideOutbound(
  view: MeshView,
  pod: LocalPod,
  destination: SocketAddress,
  draw: number,
  pods?: LocalPods,
): Verdict {
  const source = view.workload(pod.workload);
  if (source === undefined) return hold;
  const route = routeOutbound(view, source, destination);
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
      return reach(base, route.service, route.targets, { draw, local: joiner(view, pod, pods) });
  }
}

type Joiner = (target: HboneTarget) => DialVerdict | undefined;

/** How this pod reaches an endpoint without leaving the node; undefined where it can't or may not. */
function joiner(view: MeshView, client: LocalPod, pods: LocalPods | undefined): Joiner {
  if (pods === undefined || view.settings.localTraffic !== "auto") return () => undefined;
  return ({ workload, destination }) => {
    const server = pods.pod(workload.uid);
    const verdict = server && judgeLocal(view, pods, { client, server, destination });
    return verdict?.kind === "dial" ? verdict : undefined;
  };
}

/**
 * One decision carries, dials or joins one local pod, never two of them: with endpoints of several kinds their weights decide which kind
 * this flow gets, the local ones being a kind each.
 */
function reach(
  base: VerdictBase,
  service: Service | undefined,
  targets: readonly RouteTarget[],
  { draw, local }: { readonly draw: number; readonly local: Joiner },
): Verdict {
  const tunnelled: HboneTarget[] = [];
  const plain: PlainTarget[] = [];
  let drawn = draw * weightOf(targets);
  let lastJoined: DialVerdict | undefined;
  for (const target of targets) {
    if (target.via === "plain") {
      plain.push(target);
      continue;
    }
    const joined = local(target);
    if (joined === undefined) {
      tunnelled.push(target);
      continue;
    }
    const dependsOn = targets.length === 1 ? base.dependsOn : undefined;
    lastJoined = { ...joined, service: service ?? joined.service, dependsOn };
    if (drawn < target.weight) return lastJoined;
    drawn -= target.weight;
  }
  if (lastJoined !== undefined && tunnelled.length + plain.length === 0) return lastJoined;
  const mixed = tunnelled.length > 0 && plain.length > 0;
  const carry = mixed ? drawn < weightOf(tunnelled) : tunnelled.length > 0;
  const dependsOn = mixed || tunnelled.length + plain.length < targets.length ? undefined : base.dependsOn;
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
