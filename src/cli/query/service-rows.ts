/** Services as `warren services` lists them. Pure. */
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import type { Listing } from "../output/listing.ts";

export interface ServiceRow {
  readonly namespace: string;
  readonly name: string;
  readonly hostname: string;
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly name: string; readonly port: number; readonly appProtocol: string }[];
  /** Pods behind it, and how many of them are ready and how many enrolled. */
  readonly endpoints: number;
  readonly ready: number;
  readonly enrolled: number;
}

/** With nodes, only what has a pod there. */
export function serviceRows(view: MeshView, nodes: ReadonlySet<string>): ServiceRow[] {
  const behind = new Map<string, Workload[]>();
  for (const workload of view.workloads()) {
    for (const { namespace, hostname } of view.servicesOf(workload)) {
      const key = `${namespace}/${hostname}`;
      const pods = behind.get(key) ?? [];
      pods.push(workload);
      behind.set(key, pods);
    }
  }
  const rows: ServiceRow[] = [];
  for (const { namespace, name, hostname, addresses, ports } of view.services()) {
    const pods = behind.get(`${namespace}/${hostname}`) ?? [];
    if (nodes.size > 0 && !pods.some(({ node }) => nodes.has(node))) continue;
    rows.push({
      namespace,
      name,
      hostname,
      addresses,
      ports: ports.map((port) => ({ name: port.name, port: port.port, appProtocol: port.appProtocol })),
      endpoints: pods.length,
      ready: pods.filter(({ ready }) => ready).length,
      enrolled: pods.filter(({ tunnel }) => tunnel === "hbone").length,
    });
  }
  return rows.sort((one, other) => (`${one.namespace}/${one.name}` < `${other.namespace}/${other.name}` ? -1 : 1));
}

export const servicesListing: Listing<ServiceRow> = {
  schema: "warren.services/v1",
  items: "services",
  columns: [
    { title: "NAMESPACE", cell: ({ namespace }) => namespace },
    { title: "SERVICE NAME", cell: ({ name }) => name },
    { title: "SERVICE VIP", cell: ({ addresses }) => addresses.join(",") },
    { title: "PORTS", cell: ({ ports }) => ports.map(({ port }) => port).join(",") },
    {
      title: "ENDPOINTS",
      cell: ({ ready, endpoints }) => `${ready}/${endpoints}`,
      style: ({ ready }, colours) => (ready === 0 ? colours.yellow : undefined),
    },
    { title: "ENROLLED", cell: ({ enrolled, endpoints }) => `${enrolled}/${endpoints}` },
    { title: "HOSTNAME", cell: ({ hostname }) => hostname, wide: true },
  ],
  name: ({ namespace, name }) => `service/${name}.${namespace}`,
  none: "no services",
};
