/** Services as people name them where pods are meant: `svc/api`, `svc/api.shop`, or the address that clients connect to. */
import { MeshError } from "../../lib/errors.ts";
import { canonicalIp } from "../../lib/ip.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { Service } from "../../model/service.ts";
import type { Workload } from "../../model/workload.ts";

/** As access logs and `warren tap` write it: an IPv6 address may stand in brackets. */
export function addressIn(text: string): string | undefined {
  return canonicalIp(text.replace(/^\[(.*)\]$/, "$1"));
}

/** Undefined for text that names no Service. Throws a usage error that names what there is. */
export function findService(view: MeshView, text: string, namespace: string): Service | undefined {
  const address = addressIn(text);
  if (address !== undefined) return view.serviceByAddress(address);
  const [, name] = /^(?:svc|services?)\/(.+)$/i.exec(text) ?? [];
  if (name === undefined) return undefined;
  const dot = name.lastIndexOf(".");
  const home = dot === -1 ? namespace : name.slice(dot + 1);
  const there = [...view.services()].filter((service) => service.namespace === home);
  const found = there.find((service) => service.name === (dot === -1 ? name : name.slice(0, dot)));
  if (found !== undefined) return found;
  const known = there.map((service) => service.name).sort();
  throw new MeshError(
    "MESH_CONFIG_WORKLOAD",
    `no Service ${text} in namespace ${home}; Services in ${home}: ${known.slice(0, 12).join(", ") || "none"}`,
  );
}

/** Ready or not, in order of their names. */
export function podsBehind(view: MeshView, { namespace, name, hostname }: Service): Workload[] {
  const isBehind = (workload: Workload) =>
    workload.namespace === namespace &&
    [...view.servicesOf(workload)].some((one) => one.namespace === namespace && one.hostname === hostname);
  const pods = [...view.workloads()].filter(isBehind).sort((one, other) => (one.name < other.name ? -1 : 1));
  if (pods.length > 0) return pods;
  throw new MeshError("MESH_CONFIG_WORKLOAD", `no pod is behind Service ${namespace}/${name}; compare its selector`);
}

/** A Service's port is its own: the one that it sends to this pod on. What names no Service names the pod's port. */
export function portBehind(view: MeshView, service: Service | undefined, workload: Workload, port: number): number {
  if (service === undefined) return port;
  const endpoints = view.endpoints(service, port);
  if (endpoints === undefined) {
    const ports = service.ports.map((one) => one.port).join(", ");
    throw new MeshError(
      "MESH_CONFIG_TARGET",
      `Service ${service.namespace}/${service.name} has no port ${port}; it has: ${ports || "none"}`,
    );
  }
  // Of a pod that is not ready only its neighbours tell.
  const [own = endpoints[0]] = endpoints.filter((one) => one.workload === workload.uid);
  return own?.targetPort ?? port;
}
