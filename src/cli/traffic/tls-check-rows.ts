/**
 * `tls-check`: for each port of each workload what it accepts and who set that, beside what its agent has seen come in. Pure. Ports are those
 * that Services send to, that the pods listen on, that have a mode of their own, and that were connected to.
 */
import type { EffectiveMode, MeshView } from "../../model/mesh.ts";
import { isMeshPort } from "../../model/ports.ts";
import type { Workload } from "../../model/workload.ts";
import type { Column, Listing } from "../output/listing.ts";
import { spanText } from "../output/words.ts";
import type { SeenRow, SeenSockets } from "./gather.ts";
import { type NodeAddresses, nodeAddressesOf, peerRow, peerText } from "./peer.ts";

export type TlsStatus =
  /** STRICT: nothing but mutual TLS gets in. */
  | "OK"
  /** Plaintext would be let in; all clients of the window used mutual TLS. */
  | "READY"
  /** Plaintext would be let in, and nobody came in the window. */
  | "QUIET"
  /** Both came. */
  | "MIXED"
  /** Plaintext alone came. */
  | "PLAINTEXT"
  /** DISABLE: the port takes no tunnels. */
  | "DISABLED"
  /** The mesh does not see it. */
  | "UNCOVERED";

export interface TlsCheckRow {
  /** `api.production.svc.cluster.local:8080`, or the workload where no Service sends there. */
  readonly hostPort: string;
  readonly namespace: string;
  /** `Kind/name` */
  readonly workload: string;
  readonly pods: readonly string[];
  readonly port: number;
  readonly protocol: "tcp" | "udp";
  readonly services: readonly string[];
  readonly status: TlsStatus;
  /** Effective PeerAuthentication, empty where nothing enforces one. */
  readonly mode: string;
  /** `namespace/name` of the object that set it; empty for the default. */
  readonly policy: string;
  readonly clients: { readonly mutualTls: number; readonly plaintext: number; readonly local: number };
  /** Connections in the window. */
  readonly connections: { readonly mutualTls: number; readonly plaintext: number; readonly refused: number };
  /** Undefined when none was seen since `observedSince`. */
  readonly lastPlaintext: { readonly at: string; readonly from: string; readonly refused: boolean } | undefined;
  /** From when on the agents of all its pods have watched; empty when they don't. */
  readonly observedSince: string;
  readonly note: string;
}

export interface TlsCheckInput {
  readonly view: MeshView;
  readonly workloads: readonly Workload[];
  readonly rows: readonly SeenRow[];
  readonly sockets: readonly SeenSockets[];
  /** By node: from when on its agent has watched. */
  readonly since: ReadonlyMap<string, number>;
}

interface Group {
  readonly namespace: string;
  readonly owner: string;
  readonly pods: Workload[];
}

export function tlsCheckRows(input: TlsCheckInput): TlsCheckRow[] {
  const nodes = nodeAddressesOf(input.view);
  const groups = new Map<string, Group>();
  for (const workload of input.workloads) {
    const owner = `${workload.owner.kind}/${workload.owner.name}`;
    const key = `${workload.namespace} ${owner} ${workload.tunnel} ${workload.hostNetwork}`;
    const group = groups.get(key) ?? { namespace: workload.namespace, owner, pods: [] };
    groups.set(key, group);
    group.pods.push(workload);
  }
  return [...groups.values()].flatMap((group) => groupRows(input, nodes, group)).sort(byPlace);
}

function groupRows(input: TlsCheckInput, nodes: NodeAddresses, group: Group): TlsCheckRow[] {
  const [first] = group.pods;
  if (first === undefined) return [];
  if (first.hostNetwork) return uncoveredWorkload(input, group, "host-network pods are not captured");
  if (first.tunnel === "none") return uncoveredWorkload(input, group, "not enrolled");
  const uids = new Set(group.pods.map(({ uid }) => uid));
  const sockets = input.sockets.filter(({ workload }) => uids.has(workload));
  const seen = input.rows.filter(({ workload, direction }) => direction === "inbound" && uids.has(workload));
  const services = servicesByPort(input.view, group.pods);
  const listening = sockets.flatMap((pod) => pod.listening);
  const tcp = new Set([
    ...services.keys(),
    ...listening.flatMap(({ protocol, port }) => (protocol === "tcp" ? [port] : [])),
    ...seen.flatMap(({ port, connections, refused }) => (connections + refused > 0 && !isMeshPort(port) ? [port] : [])),
    ...portsWithOwnMode(input.view, first),
  ]);
  const udp = new Set(listening.flatMap(({ protocol, port }) => (protocol === "udp" ? [port] : [])));
  return [
    ...[...tcp].flatMap((port) => {
      // Pods of one owner may differ in their labels, and so in their modes.
      const byMode = new Map<string, Workload[]>();
      for (const pod of group.pods) {
        const { mode, policy } = input.view.inboundMode(pod, port);
        const key = `${mode} ${policy}`;
        byMode.set(key, [...(byMode.get(key) ?? []), pod]);
      }
      return [...byMode.values()].map((pods) => {
        const same = new Set(pods.map(({ uid }) => uid));
        return tcpRow(input, nodes, { ...group, pods }, port, {
          services: services.get(port) ?? [],
          seen: seen.filter((row) => row.port === port && same.has(row.workload)),
        });
      });
    }),
    ...[...udp].map(
      (port): TlsCheckRow => ({
        ...base(group, port, "udp", services.get(port) ?? []),
        status: "UNCOVERED",
        note: "UDP is not tunnelled",
      }),
    ),
  ];
}

function tcpRow(
  { view, since }: TlsCheckInput,
  nodes: NodeAddresses,
  group: Group,
  port: number,
  { services, seen }: { readonly services: readonly string[]; readonly seen: readonly SeenRow[] },
): TlsCheckRow {
  const [first] = group.pods;
  const mode: EffectiveMode = first === undefined ? { mode: "PERMISSIVE", policy: "" } : view.inboundMode(first, port);
  const clientsBy = (security: SeenRow["security"]) =>
    new Set(seen.flatMap((row) => (row.security === security && row.connections > 0 ? [keyOfPeer(row)] : []))).size;
  const sum = (security: SeenRow["security"]) =>
    seen.reduce((total, row) => total + (row.security === security ? row.connections : 0), 0);
  const clients = { mutualTls: clientsBy("mutual_tls"), plaintext: clientsBy("none"), local: clientsBy("local") };
  const starts = group.pods.map(({ node }) => since.get(node));
  const watched = starts.every((start) => start !== undefined);
  return {
    ...base(group, port, "tcp", services),
    status: watched ? statusOf(mode.mode, clients) : "UNCOVERED",
    mode: mode.mode,
    policy: mode.policy,
    clients,
    connections: {
      mutualTls: sum("mutual_tls"),
      plaintext: sum("none"),
      refused: seen.reduce((total, { refused }) => total + refused, 0),
    },
    lastPlaintext: lastPlaintext(view, nodes, seen),
    observedSince: watched ? new Date(Math.max(...starts.map((start) => start ?? 0))).toISOString() : "",
    note: watched ? "" : "its node's agent does not answer",
  };
}

function statusOf(mode: EffectiveMode["mode"], clients: TlsCheckRow["clients"]): TlsStatus {
  if (mode === "STRICT") return "OK";
  if (mode === "DISABLE") return "DISABLED";
  if (clients.plaintext > 0) return clients.mutualTls > 0 ? "MIXED" : "PLAINTEXT";
  return clients.mutualTls + clients.local > 0 ? "READY" : "QUIET";
}

function lastPlaintext(view: MeshView, nodes: NodeAddresses, seen: readonly SeenRow[]): TlsCheckRow["lastPlaintext"] {
  const plain = seen.filter(({ security }) => security === "none").sort((one, other) => other.lastSeen - one.lastSeen);
  const [last] = plain;
  if (last === undefined) return undefined;
  const from = peerText(peerRow(view, nodes, last.peer));
  return { at: new Date(last.lastSeen).toISOString(), from, refused: last.connections === 0 };
}

function keyOfPeer({ peer }: SeenRow): string {
  return peer.workload === "" ? `${peer.address} ${peer.identity}` : peer.workload;
}

function base(group: Group, port: number, protocol: "tcp" | "udp", services: readonly string[]): TlsCheckRow {
  const { namespace, owner, pods } = group;
  const [service] = services;
  return {
    hostPort: service ?? `${owner.slice(owner.indexOf("/") + 1)}.${namespace}:${port}`,
    namespace,
    workload: owner,
    pods: pods.map(({ name }) => name).sort(),
    port,
    protocol,
    services,
    status: "UNCOVERED",
    mode: "",
    policy: "",
    clients: { mutualTls: 0, plaintext: 0, local: 0 },
    connections: { mutualTls: 0, plaintext: 0, refused: 0 },
    lastPlaintext: undefined,
    observedSince: "",
    note: "",
  };
}

/** One row per port that Services send to, or one for the workload. */
function uncoveredWorkload({ view }: TlsCheckInput, group: Group, note: string): TlsCheckRow[] {
  const services = servicesByPort(view, group.pods);
  const ports: [number, readonly string[]][] = services.size === 0 ? [[0, []]] : [...services];
  return ports.map(([port, names]) => {
    const row = base(group, port, "tcp", names);
    return { ...row, hostPort: port === 0 ? row.hostPort.replace(/:0$/, "") : row.hostPort, note };
  });
}

/** `hostname:port` of the Services that send to a port of these pods, in order. */
function servicesByPort(view: MeshView, pods: readonly Workload[]): Map<number, string[]> {
  const uids = new Set(pods.map(({ uid }) => uid));
  const found = new Map<number, Set<string>>();
  const services = new Set(pods.flatMap((pod) => [...view.servicesOf(pod)]));
  for (const service of services) {
    for (const { port } of service.ports) {
      for (const { workload, targetPort } of view.endpoints(service, port) ?? []) {
        if (workload === undefined || !uids.has(workload)) continue;
        const names = found.get(targetPort) ?? new Set();
        found.set(targetPort, names.add(`${service.hostname}:${port}`));
      }
    }
  }
  return new Map([...found].map(([port, names]) => [port, [...names].sort()]));
}

function portsWithOwnMode(view: MeshView, workload: Workload): number[] {
  const policies = [...view.peerAuthentications()].filter(({ namespace }) => namespace === workload.namespace);
  const ports = new Set(policies.flatMap(({ portModes }) => [...portModes.keys()]));
  const names = new Set(policies.map(({ namespace, name }) => `${namespace}/${name}`));
  return [...ports].filter((port) => {
    const { policy } = view.inboundMode(workload, port);
    return (
      names.has(policy) &&
      policies.some(({ namespace, name, portModes }) => `${namespace}/${name}` === policy && portModes.has(port))
    );
  });
}

function byPlace(one: TlsCheckRow, other: TlsCheckRow): number {
  const key = ({ namespace, workload, port, protocol }: TlsCheckRow) =>
    [namespace, workload, String(port).padStart(5), protocol].join(" ");
  return key(one) < key(other) ? -1 : 1;
}

const colourOf: Readonly<Record<TlsStatus, "green" | "yellow" | "red" | "dim">> = {
  OK: "green",
  READY: "green",
  QUIET: "yellow",
  MIXED: "yellow",
  PLAINTEXT: "red",
  DISABLED: "yellow",
  UNCOVERED: "dim",
};

/** `window` is how the window reads in the head, for example `1h`. */
export function tlsCheckListing(window: string, now: number): Listing<TlsCheckRow> {
  const columns: Column<TlsCheckRow>[] = [
    { title: "HOST:PORT", cell: ({ hostPort }) => hostPort },
    { title: "WORKLOAD", cell: ({ namespace, workload }) => `${namespace}/${workload}`, wide: true },
    {
      title: "STATUS",
      cell: ({ status }) => status,
      style: ({ status }, colours) => colours[colourOf[status]],
    },
    { title: "SERVER", cell: ({ mode }) => mode },
    { title: `CLIENTS(${window})`, cell: clientsText },
    { title: `CONNECTIONS(${window})`, cell: connectionsText, wide: true },
    { title: "POLICY", cell: ({ mode, policy }) => (mode === "" ? "" : policy || "(default)") },
    { title: "LAST PLAINTEXT", cell: (row) => lastText(row, now) },
  ];
  return {
    schema: "warren.tls-check/v1",
    items: "ports",
    columns,
    name: ({ namespace, workload, port, protocol }) => `${namespace}/${workload}:${port}/${protocol}`,
    none: "no workloads",
  };
}

/** Agents count from their start: what is missing of the window is said, empty for nothing. `since` is by node, Unix milliseconds. */
export function watchedAdvice(since: ReadonlyMap<string, number>, window: number, now: number): string {
  const watched = now - Math.max(...since.values());
  if (since.size === 0 || watched >= window) return "";
  return `agents have watched for ${spanText(watched)} only, since the last of them started; CLIENTS counts from then`;
}

function clientsText({ mode, clients }: TlsCheckRow): string {
  if (mode === "") return "";
  const local = clients.local === 0 ? "" : ` / ${clients.local} local`;
  return `${clients.mutualTls} mTLS / ${clients.plaintext} plain${local}`;
}

function connectionsText({ mode, connections }: TlsCheckRow): string {
  if (mode === "") return "";
  return `${connections.mutualTls} mTLS / ${connections.plaintext} plain / ${connections.refused} refused`;
}

function lastText({ note, lastPlaintext, observedSince }: TlsCheckRow, now: number): string {
  if (note !== "") return note;
  if (lastPlaintext === undefined) return `never (observed ${spanText(now - Date.parse(observedSince))})`;
  const { at, from, refused } = lastPlaintext;
  return `${spanText(now - Date.parse(at))} ago ${from}${refused ? " (refused)" : ""}`;
}
