/** Who talks to whom, rolled up from both ends' observations. Pure. */
import type { MeshView } from "../../model/mesh.ts";
import type { Column, Listing } from "../output/listing.ts";
import { bytesText, spanText } from "../output/words.ts";
import type { SecurityWord } from "../query/connection-rows.ts";
import type { SeenRefusedRequests, SeenRow } from "./gather.ts";
import { nodeAddressesOf, ownerText, type PeerRow, peerRow } from "./peer.ts";

export interface EdgeEnd {
  readonly namespace: string;
  /** `Kind/name`; empty for what is no pod. */
  readonly owner: string;
  /** Of who is no pod. */
  readonly address: string;
  /** Proven on this edge. */
  readonly identity: string;
}

export interface EdgeRow {
  readonly source: EdgeEnd;
  readonly destination: EdgeEnd;
  readonly port: number;
  readonly security: SecurityWord;
  readonly connections: number;
  readonly open: number;
  readonly refused: number;
  /** Requests on its connections that the destination's agent answered instead of the application, where policy reads requests. */
  readonly requestsRefused: number;
  /** From source to destination, and back, since `firstSeen`. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly firstSeen: string;
  readonly lastSeen: string;
  /** Of the last refusal. */
  readonly lastReason: string;
  readonly lastPolicy: string;
  /** Whose agents told of it. */
  readonly reporters: readonly ("source" | "destination")[];
}

/** Where both ends' agents saw it, the destination's counts: it knows what was refused, and clients outside the mesh have no agent. */
export function edgeRows(
  view: MeshView,
  rows: readonly SeenRow[],
  requests: readonly SeenRefusedRequests[] = [],
): EdgeRow[] {
  const nodes = nodeAddressesOf(view);
  const refusals = requests.map((row) => ({
    source: nameOf(endOf(peerRow(view, nodes, row.peer))),
    destination: nameOf(localEnd(view, row, "")),
    proven: row.peer.identity !== "",
    port: row.port,
    requests: row.requests,
  }));
  const ends = new Map<string, { inbound: EdgeRow | undefined; outbound: EdgeRow | undefined }>();
  for (const row of rows) {
    const edge = edgeOf(view, nodes, row);
    const key = keyOf(edge);
    const known = ends.get(key) ?? { inbound: undefined, outbound: undefined };
    ends.set(key, known);
    const before = known[row.direction];
    known[row.direction] = before === undefined ? edge : joined(before, edge);
  }
  const found: EdgeRow[] = [];
  for (const { inbound, outbound } of ends.values()) {
    const told = inbound ?? outbound;
    if (told === undefined) continue;
    const both = inbound !== undefined && outbound !== undefined;
    const [source, destination] = [nameOf(told.source), nameOf(told.destination)];
    const proven = told.security === "mutual_tls" || told.security === "local";
    const requestsRefused = refusals
      .filter((one) => one.source === source && one.destination === destination && one.port === told.port)
      .reduce((sum, one) => (one.proven === proven ? sum + one.requests : sum), 0);
    found.push({ ...told, requestsRefused, ...(both && { reporters: ["source", "destination"] as const }) });
  }
  return found.sort((one, other) => (sortKey(one) < sortKey(other) ? -1 : 1));
}

function edgeOf(view: MeshView, nodes: ReturnType<typeof nodeAddressesOf>, row: SeenRow): EdgeRow {
  const far = endOf(peerRow(view, nodes, row.peer));
  const proven = row.security === "mutual_tls" || row.security === "local";
  const local = localEnd(view, row, proven ? (view.workload(row.workload)?.identity ?? "") : "");
  const inbound = row.direction === "inbound";
  return {
    source: inbound ? far : local,
    destination: inbound ? local : far,
    port: portOf(view, row),
    security: row.security,
    connections: row.connections,
    open: row.open,
    refused: row.refused,
    requestsRefused: 0,
    bytesSent: row.bytesSent,
    bytesReceived: row.bytesReceived,
    firstSeen: new Date(row.firstSeen).toISOString(),
    lastSeen: new Date(row.lastSeen).toISOString(),
    lastReason: row.lastReason,
    lastPolicy: row.lastPolicy,
    reporters: [inbound ? "destination" : "source"],
  };
}

/** The pod whose agent tells. */
function localEnd(
  view: MeshView,
  { workload, namespace, pod }: Pick<SeenRow, "workload" | "namespace" | "pod">,
  identity: string,
): EdgeEnd {
  const own = view.workload(workload);
  return {
    namespace,
    owner: own === undefined ? `Pod/${pod}` : `${own.owner.kind}/${own.owner.name}`,
    address: "",
    identity,
  };
}

function endOf({ namespace, owner, address, identity }: PeerRow): EdgeEnd {
  return { namespace, owner, address: owner === "" ? address : "", identity };
}

function keyOf({ source, destination, port, security }: EdgeRow): string {
  return [nameOf(source), nameOf(destination), port, security].join(" ");
}

/** A client asks for a Service's port, the destination's agent sees the pod's: an edge has the pod's. */
function portOf(view: MeshView, { direction, port, service: key, peer }: SeenRow): number {
  const slash = key.indexOf("/");
  if (direction === "inbound" || slash === -1 || peer.workload === "") return port;
  const service = view.serviceByHostname(key.slice(0, slash), key.slice(slash + 1));
  const ends = service && view.endpoints(service, port);
  return ends?.find(({ workload }) => workload === peer.workload)?.targetPort ?? port;
}

function nameOf({ namespace, owner, address }: EdgeEnd): string {
  return owner === "" ? address : `${namespace}/${owner}`;
}

function sortKey(edge: EdgeRow): string {
  return [nameOf(edge.source), nameOf(edge.destination), edge.security, edge.port].join(" ");
}

function joined(one: EdgeRow, other: EdgeRow): EdgeRow {
  const newer = one.lastSeen >= other.lastSeen ? one : other;
  return {
    ...newer,
    source: { ...newer.source, identity: newer.source.identity || one.source.identity || other.source.identity },
    connections: one.connections + other.connections,
    open: one.open + other.open,
    refused: one.refused + other.refused,
    bytesSent: one.bytesSent + other.bytesSent,
    bytesReceived: one.bytesReceived + other.bytesReceived,
    firstSeen: [one.firstSeen, other.firstSeen].sort()[0] ?? one.firstSeen,
  };
}

/** √ or why not, as people look for it. */
export function securedText({ security, connections, refused, lastReason }: EdgeRow): string {
  if (connections === 0 && refused > 0) return `refused: ${lastReason}`;
  switch (security) {
    case "mutual_tls":
      return "√";
    case "local":
      return "√ local";
    case "none":
      return "no: plaintext";
    case "unknown":
      return "?";
  }
}

export function endName({ namespace, owner, address }: EdgeEnd): string {
  return ownerText({ namespace, owner, pod: "", address });
}

const columns: readonly Column<EdgeRow>[] = [
  { title: "SRC", cell: ({ source }) => shortName(source) },
  { title: "DST", cell: ({ destination }) => shortName(destination) },
  { title: "SRC_NS", cell: ({ source }) => source.namespace },
  { title: "DST_NS", cell: ({ destination }) => destination.namespace },
  { title: "PORT", cell: ({ port }) => String(port) },
  { title: "CLIENT_ID", cell: ({ source }) => shortIdentity(source.identity) },
  { title: "SERVER_ID", cell: ({ destination }) => shortIdentity(destination.identity) },
  {
    title: "SECURED",
    cell: securedText,
    style: ({ security }, colours) =>
      security === "none" ? colours.yellow : security === "unknown" ? colours.dim : colours.green,
  },
  { title: "CONNECTIONS", cell: ({ connections }) => String(connections) },
  { title: "OPEN", cell: ({ open }) => String(open), wide: true },
  { title: "REFUSED", cell: ({ refused }) => String(refused), wide: true },
  { title: "REQUESTS REFUSED", cell: ({ requestsRefused }) => String(requestsRefused), wide: true },
  { title: "SENT", cell: ({ bytesSent }) => bytesText(bytesSent), wide: true },
  { title: "RECEIVED", cell: ({ bytesReceived }) => bytesText(bytesReceived), wide: true },
  { title: "LAST SEEN", cell: ({ lastSeen }) => spanText(Date.now() - Date.parse(lastSeen)), wide: true },
  { title: "REPORTED BY", cell: ({ reporters }) => reporters.join(","), wide: true },
];

function shortName(end: EdgeEnd): string {
  const name = endName(end);
  return end.owner === "" ? name : name.slice(name.indexOf("/") + 1);
}

/** `production/api` of a SPIFFE id. */
export function shortIdentity(identity: string): string {
  const [, namespace, account] = /\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(identity) ?? [];
  return namespace === undefined || account === undefined ? identity : `${namespace}/${account}`;
}

export const edgesListing: Listing<EdgeRow> = {
  schema: "warren.edges/v1",
  items: "edges",
  columns,
  name: ({ source, destination, port }) => `${endName(source)}->${endName(destination)}:${port}`,
  none: "no traffic was seen",
};
