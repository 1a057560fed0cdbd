/** The resolver stand-in: the hosts file of a namespace's pods, with the names that a cluster's DNS would answer. */
import { isGoing } from "./deployments.ts";
import { readyAddresses, slicesOf } from "./endpoints.ts";
import type { EndpointSlice, Pod, Service } from "./objects.ts";
import { isHeadless } from "./service-addresses.ts";

export interface NamedObjects {
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly endpointSlices: readonly EndpointSlice[];
}

const clusterDomain = "cluster.local";

/** All names that resolve in a namespace: every Service in full, those of the namespace by their short name, and its pods. */
export function hostsFile(namespace: string, { pods, services, endpointSlices }: NamedObjects): string {
  const lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"];
  for (const service of services) {
    const names = serviceNames(service, namespace);
    const slices = slicesOf(service, endpointSlices);
    const addresses = isHeadless(service) ? slices.flatMap(readyAddresses) : (service.spec.clusterIPs ?? []);
    for (const address of addresses) lines.push(`${address} ${names.join(" ")}`);
    for (const slice of slices)
      for (const { hostname, addresses: of } of slice.endpoints)
        if (hostname !== undefined)
          for (const address of of) lines.push(`${address} ${names.map((name) => `${hostname}.${name}`).join(" ")}`);
  }
  for (const pod of pods) {
    if (pod.metadata.namespace !== namespace || isGoing(pod)) continue;
    const names = [...new Set([pod.spec.hostname ?? pod.metadata.name, pod.metadata.name])];
    for (const { ip } of pod.status?.podIPs ?? []) lines.push(`${ip} ${names.join(" ")}`);
  }
  return `${lines.join("\n")}\n`;
}

function serviceNames(service: Service, namespace: string): string[] {
  const { name, namespace: home = "" } = service.metadata;
  const long = `${name}.${home}`;
  return [...(home === namespace ? [name] : []), long, `${long}.svc`, `${long}.svc.${clusterDomain}`];
}
