/**
 * The Service that a connection to a pod's own port most likely addressed: who sent it knew, but says so only in peer data, which
 * nothing may rest on. Told in logs and metrics; undefined when several Services send to the same port.
 */
import type { SocketAddress } from "../model/address.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";

export function serviceOf(view: MeshView, workload: Workload, { address, port }: SocketAddress): Service | undefined {
  let found: Service | undefined;
  for (const service of view.servicesOf(workload)) {
    const sends = service.ports.some((known) =>
      view.endpoints(service, known.port)?.some((end) => end.targetPort === port && end.address === address),
    );
    if (!sends) continue;
    if (found !== undefined) return undefined;
    found = service;
  }
  return found;
}
