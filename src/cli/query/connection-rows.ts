/** Open connections as `warren connections` lists them: wire messages read into plain rows. Pure. */
import { type Endpoint, type Flow, FlowRole, Security } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import type { Column, Listing } from "../output/listing.ts";
import { bytesText, isoTime, socketText, spanText } from "../output/words.ts";

export interface ConnectionEnd {
  readonly address: string;
  readonly namespace: string;
  readonly pod: string;
  readonly owner: string;
  readonly identity: string;
}

export interface ConnectionRow {
  readonly node: string;
  /** Unique on its node while its agent runs. */
  readonly id: string;
  readonly direction: "inbound" | "outbound";
  readonly source: ConnectionEnd;
  readonly destination: ConnectionEnd;
  readonly service: string;
  /** Where it went on: the application or the peer's tunnel port. */
  readonly target: string;
  readonly protocol: "HBONE" | "TCP" | "LOCAL";
  readonly security: "mutual_tls" | "none" | "local" | "unknown";
  readonly policy: string;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly openedAt: string;
}

export type SecurityWord = ConnectionRow["security"];

const securityWords: Readonly<Record<number, SecurityWord>> = {
  [Security.MUTUAL_TLS]: "mutual_tls",
  [Security.NONE]: "none",
  [Security.LOCAL]: "local",
};

export function securityWord(security: Security): SecurityWord {
  return securityWords[security] ?? "unknown";
}

export function endRow(end: Endpoint | undefined): ConnectionEnd {
  return {
    address: socketText(end?.address),
    namespace: end?.namespace ?? "",
    pod: end?.workload ?? "",
    owner: end?.owner ?? "",
    identity: end?.identity ?? "",
  };
}

export function connectionRow(node: string, flow: Flow): ConnectionRow {
  const security = securityWord(flow.security);
  return {
    node,
    id: String(flow.flow),
    direction: flow.role === FlowRole.OUTBOUND ? "outbound" : "inbound",
    source: endRow(flow.source),
    destination: endRow(flow.destination),
    service: flow.service,
    target: socketText(flow.target),
    protocol: security === "mutual_tls" ? "HBONE" : security === "local" ? "LOCAL" : "TCP",
    security,
    policy: flow.policy,
    bytesSent: Number(flow.bytesSent),
    bytesReceived: Number(flow.bytesReceived),
    openedAt: isoTime(flow.openedAt),
  };
}

/** `namespace/pod`, or the address of whoever is no workload of the mesh. */
export function endText({ namespace, pod, address }: ConnectionEnd): string {
  return pod === "" ? address : `${namespace}/${pod}`;
}

/** The pod that the row's agent speaks for. */
const local = ({ direction, source, destination }: ConnectionRow) => (direction === "outbound" ? source : destination);
const remote = ({ direction, source, destination }: ConnectionRow) => (direction === "outbound" ? destination : source);

const columns: readonly Column<ConnectionRow>[] = [
  { title: "NODE", cell: ({ node }) => node, wide: true },
  { title: "WORKLOAD", cell: (row) => endText(local(row)) },
  { title: "DIRECTION", cell: ({ direction }) => direction },
  { title: "LOCAL", cell: (row) => local(row).address },
  { title: "REMOTE", cell: (row) => remote(row).address },
  { title: "REMOTE WORKLOAD", cell: (row) => (remote(row).pod === "" ? "" : endText(remote(row))) },
  { title: "TARGET", cell: ({ target }) => target, wide: true },
  {
    title: "PROTOCOL",
    cell: ({ protocol }) => protocol,
    style: ({ security }, colours) => (security === "none" ? colours.yellow : undefined),
  },
  { title: "PEER IDENTITY", cell: (row) => remote(row).identity },
  { title: "SERVICE", cell: ({ service }) => service, wide: true },
  { title: "POLICY", cell: ({ policy }) => policy, wide: true },
  { title: "SENT", cell: ({ bytesSent }) => bytesText(bytesSent) },
  { title: "RECEIVED", cell: ({ bytesReceived }) => bytesText(bytesReceived) },
  { title: "AGE", cell: ({ openedAt }) => (openedAt === "" ? "" : spanText(Date.now() - Date.parse(openedAt))) },
];

export const connectionsListing: Listing<ConnectionRow> = {
  schema: "warren.connections/v1",
  items: "connections",
  columns,
  name: ({ node, id }) => `connection/${node}/${id}`,
  none: "no open connections",
};
