/** What stands behind each address and port of each Service: the kube-proxy stand-in's input. */
import { isIPv6 } from "node:net";
import { readyTargets } from "./endpoints.ts";
import type { EndpointSlice, Service } from "./objects.ts";

export interface ServiceTargets {
  readonly address: string;
  readonly family: "IPv4" | "IPv6";
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  readonly endpoints: readonly { readonly address: string; readonly port: number }[];
}

export function serviceTargets(services: readonly Service[], slices: readonly EndpointSlice[]): ServiceTargets[] {
  const targets: ServiceTargets[] = [];
  for (const service of services)
    for (const address of service.spec.clusterIPs ?? []) {
      if (address === "None") continue;
      const family = isIPv6(address) ? "IPv6" : "IPv4";
      for (const port of service.spec.ports) {
        if (port.protocol === "SCTP") continue;
        targets.push({
          address,
          family,
          protocol: port.protocol === "TCP" ? "tcp" : "udp",
          port: port.port,
          endpoints: readyTargets(service, port, slices, family),
        });
      }
    }
  return targets;
}

/** `address . address` of every endpoint, each once. */
export function endpointPairs(targets: readonly ServiceTargets[], family: "IPv4" | "IPv6"): string[] {
  const addresses = targets.flatMap((target) => (target.family === family ? target.endpoints : []));
  return [...new Set(addresses.map(({ address }) => `${address} . ${address}`))];
}
