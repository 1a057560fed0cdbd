/** The Service address allocator: fills clusterIP, clusterIPs and ipFamilies as the Kubernetes API server does. */
import { isIPv6 } from "node:net";
import { MeshError } from "../../lib/errors.ts";
import { clusterAddresses } from "../machine/addresses.ts";
import type { Service } from "./objects.ts";

type Family = "IPv4" | "IPv6";

/** The families that a Service asks for. The lab's cluster is dual stack with IPv4 first. */
export function familiesOf(service: Service): Family[] {
  const { ipFamilies = [], ipFamilyPolicy } = service.spec;
  const [first = "IPv4"] = ipFamilies;
  if (ipFamilyPolicy !== "PreferDualStack" && ipFamilyPolicy !== "RequireDualStack")
    return ipFamilies.length > 1 ? [...ipFamilies] : [first];
  return [first, first === "IPv4" ? "IPv6" : "IPv4"];
}

export function isHeadless(service: Service): boolean {
  return service.spec.clusterIP === "None";
}

/** The Service with its addresses; undefined when nothing is missing. `known` is what it had before it was applied again. */
export function allocateAddresses(service: Service, taken: ReadonlySet<string>, known?: Service): Service | undefined {
  if (service.spec.type === "ExternalName") return undefined;
  const ipFamilies = familiesOf(service);
  if (isHeadless(service)) {
    if (service.spec.clusterIPs !== undefined && service.spec.ipFamilies !== undefined) return undefined;
    return { ...service, spec: { ...service.spec, clusterIPs: ["None"], ipFamilies } };
  }
  const given = service.spec.clusterIPs ?? (service.spec.clusterIP ? [service.spec.clusterIP] : []);
  if (
    given.length >= ipFamilies.length &&
    service.spec.clusterIPs !== undefined &&
    service.spec.ipFamilies !== undefined
  )
    return undefined;
  const kept = given.length > 0 ? given : (known?.spec.clusterIPs ?? []).filter((ip) => ip !== "None");
  const has = (family: Family) => kept.find((ip) => isIPv6(ip) === (family === "IPv6"));
  const fresh = ipFamilies.every((family) => has(family) !== undefined) ? undefined : freeNumber(taken);
  const clusterIPs = ipFamilies.map((family) => has(family) ?? addressIn(family, fresh));
  const [clusterIP] = clusterIPs;
  return {
    ...service,
    spec: { ...service.spec, ...(clusterIP === undefined ? {} : { clusterIP }), clusterIPs, ipFamilies },
  };
}

/** The first number whose address is free in both families: a Service has the same one in each. */
function freeNumber(taken: ReadonlySet<string>): number | undefined {
  for (let number = clusterAddresses.firstService; number <= clusterAddresses.lastService; number++) {
    const { v4, v6 } = clusterAddresses.service(number);
    if (!taken.has(v4) && !taken.has(v6)) return number;
  }
  return undefined;
}

function addressIn(family: Family, number: number | undefined): string {
  if (number === undefined)
    throw new MeshError("MESH_LAB_ADDRESSES", "the lab has no free address for another Service; delete some first");
  return clusterAddresses.service(number)[family === "IPv4" ? "v4" : "v6"];
}
