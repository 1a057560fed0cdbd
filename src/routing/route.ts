/**
 * Outbound routing: what an application's connection means in this mesh, and how its destination is reached. Pure over a `MeshView`.
 *
 * Order of the questions (as ztunnel asks them): is it a Service's virtual IP, else a pod's address, else none of the mesh's
 * business. A pod whose agent takes tunnels is reached through one and never in plaintext instead: there is no fallback. Plaintext
 * goes to pods outside the mesh and to ports whose PeerAuthentication says DISABLE.
 */
import { formatHostPort } from "../lib/host-port.ts";
import { ipFamily, isLoopback } from "../lib/ip.ts";
import type { SocketAddress } from "../model/address.ts";
import type { MeshView } from "../model/mesh.ts";
import { hbonePort, isMeshPort, isSelfProbeAddress } from "../model/ports.ts";
import type { Reason } from "../model/reason.ts";
import type { Service, ServiceEndpoint } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import { preferred, type RoutingClient } from "./preference.ts";
import { subset } from "./subset.ts";

/** Endpoints that one decision names: each is a pool of tunnels. */
const mostTargets = 32;

export interface HboneTarget {
  readonly via: "hbone";
  readonly workload: Workload;
  readonly peer: SocketAddress;
  /** The application's own address and port. */
  readonly destination: SocketAddress;
  /** `address:port` for CONNECT. */
  readonly authority: string;
  readonly weight: number;
}

export interface PlainTarget {
  readonly via: "plain";
  /** Undefined for endpoints that are no pods. */
  readonly workload: Workload | undefined;
  readonly destination: SocketAddress;
  readonly weight: number;
}

export type RouteTarget = HboneTarget | PlainTarget;

export type Route =
  | {
      readonly kind: "to";
      readonly service: Service | undefined;
      /** At least one. */
      readonly targets: readonly RouteTarget[];
    }
  /** Not of this mesh: to the original destination, untouched. */
  | { readonly kind: "pass-through"; readonly destination: SocketAddress }
  | { readonly kind: "refused"; readonly reason: Reason; readonly service: Service | undefined };

/** `client` decides which of many endpoints it gets: the near ones where a Service wants that, and of very many a few. */
export function routeOutbound(view: MeshView, client: RoutingClient, destination: SocketAddress): Route {
  const nobodys = isLoopback(destination.address) || isSelfProbeAddress(destination.address);
  if (nobodys && isMeshPort(destination.port)) {
    return { kind: "refused", reason: "illegal-port", service: undefined };
  }
  const service = view.serviceByAddress(destination.address);
  if (service !== undefined) return routeToService(view, client, service, destination);
  const workload = view.workloadByAddress(destination.address);
  if (workload === undefined) return { kind: "pass-through", destination };
  const target = targetOf(view, workload, destination, 1);
  if (target === undefined) return { kind: "refused", reason: "illegal-port", service: undefined };
  return { kind: "to", service: undefined, targets: [target] };
}

function routeToService(view: MeshView, client: RoutingClient, service: Service, destination: SocketAddress): Route {
  const endpoints = view.endpoints(service, destination.port);
  if (endpoints === undefined) return { kind: "refused", reason: "unknown-service-port", service };
  const targets: RouteTarget[] = [];
  let illegal = false;
  const usable = preferredFamily(endpoints, destination.address).flatMap((endpoint) => {
    const workload = workloadOf(view, endpoint);
    return workload === "unknown" ? [] : [{ endpoint, workload }];
  });
  const near = preferred(usable, client, service.traffic);
  for (const { endpoint, workload } of subset(near, mostTargets, client.uid, ({ endpoint: { address } }) => address)) {
    const address = { address: endpoint.address, port: endpoint.targetPort };
    const target = targetOf(view, workload, address, endpoint.weight);
    if (target === undefined) illegal = true;
    else targets.push(target);
  }
  if (targets.length > 0) return { kind: "to", service, targets };
  return { kind: "refused", reason: illegal ? "illegal-port" : "no-endpoint", service };
}

/** Endpoints of the address family that the client chose, all if there are none: both ends of a dual-stack Service stay in one. */
function preferredFamily(endpoints: readonly ServiceEndpoint[], address: string): readonly ServiceEndpoint[] {
  const family = ipFamily(address);
  const same = endpoints.filter((endpoint) => ipFamily(endpoint.address) === family);
  return same.length > 0 ? same : endpoints;
}

/**
 * Who answers at the endpoint. The address decides, not the reference beside it: anybody who may write EndpointSlices could name a
 * pod outside the mesh there, and traffic for an enrolled pod would go in plaintext. A pod that is named but not known yet might be
 * enrolled, so it is left out.
 */
function workloadOf(view: MeshView, endpoint: ServiceEndpoint): Workload | undefined | "unknown" {
  const byAddress = view.workloadByAddress(endpoint.address);
  if (byAddress !== undefined || endpoint.workload === undefined) return byAddress;
  return view.workload(endpoint.workload) ?? "unknown";
}

/** Undefined when the pod's own mesh ports are meant. */
function targetOf(
  view: MeshView,
  workload: Workload | undefined,
  destination: SocketAddress,
  weight: number,
): RouteTarget | undefined {
  if (workload === undefined || workload.tunnel === "none") return { via: "plain", workload, destination, weight };
  if (isMeshPort(destination.port)) return undefined;
  if (view.inboundMode(workload, destination.port).mode === "DISABLE") {
    return { via: "plain", workload, destination, weight };
  }
  return {
    via: "hbone",
    workload,
    peer: { address: destination.address, port: hbonePort },
    destination,
    authority: formatHostPort(destination.address, destination.port),
    weight,
  };
}
