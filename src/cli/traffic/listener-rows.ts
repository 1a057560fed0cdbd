/** A workload's ports as `proxy-config listeners` shows them. Pure. */
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import type { Column, Listing } from "../output/listing.ts";
import { type TlsCheckRow, tlsCheckListing } from "./tls-check-rows.ts";

export interface ListenerRow extends TlsCheckRow {
  readonly addresses: readonly string[];
  /** Requests on it are read and judged one by one. */
  readonly readsHttp: boolean;
}

export function listenerRow(view: MeshView, workloads: readonly Workload[], row: TlsCheckRow): ListenerRow {
  const pods = workloads.filter(({ namespace, name }) => namespace === row.namespace && row.pods.includes(name));
  return {
    ...row,
    addresses: pods.flatMap(({ addresses }) => addresses),
    readsHttp: row.protocol === "tcp" && pods.some((pod) => view.readsHttp(pod, row.port)),
  };
}

export function listenersListing(window: string, now: number): Listing<ListenerRow> {
  const { columns } = tlsCheckListing(window, now);
  const [, , ...shared] = columns;
  const own: readonly Column<ListenerRow>[] = [
    { title: "ADDRESSES", cell: ({ addresses }) => addresses.join(",") },
    { title: "PORT", cell: ({ port, protocol }) => (protocol === "udp" ? `${port}/udp` : String(port)) },
    { title: "REQUESTS READ", cell: ({ readsHttp }) => (readsHttp ? "yes" : "no"), wide: true },
  ];
  return {
    schema: "warren.listeners/v1",
    items: "listeners",
    columns: [...own, ...shared],
    name: ({ namespace, workload, port }) => `${namespace}/${workload}:${port}`,
    none: "no such port is known: nothing listens on it, no Service sends to it, and nobody connected to it",
  };
}
