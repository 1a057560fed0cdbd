/** What the agents of the mesh have seen, as plain rows: wire messages are read here and nowhere else in the traffic verbs. */
import type { WorkloadUid } from "../../model/workload.ts";
import type { PodSockets, RefusedRequests, TrafficRow } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { ipText, socketText, unixMs, type WireTime } from "../output/words.ts";
import type { AskOptions, Outcome } from "../query/asked.ts";
import { type SecurityWord, securityWord } from "../query/connection-rows.ts";
import type { MeshClient } from "../query/mesh-client.ts";

/** The far end of observed connections, as the agent knew it. */
export interface SeenPeer {
  /** Uid of a workload; empty for what is none. */
  readonly workload: WorkloadUid | "";
  readonly namespace: string;
  readonly name: string;
  /** `Kind/name` */
  readonly owner: string;
  /** Empty for the row of all further peers of a port. */
  readonly address: string;
  /** Proven. */
  readonly identity: string;
  /** Whether it was in the mesh when it was seen last. */
  readonly enrolled: boolean;
  /** The node whose own address this is, a bridge's among them; empty for nobody's. */
  readonly hostNode: string;
}

/** One port of one pod and one peer, as one agent saw it. */
export interface SeenRow {
  readonly node: string;
  readonly podUid: string;
  readonly namespace: string;
  readonly pod: string;
  readonly workload: WorkloadUid;
  readonly direction: "inbound" | "outbound";
  readonly port: number;
  readonly security: SecurityWord;
  readonly peer: SeenPeer;
  /** `namespace/hostname` */
  readonly service: string;
  readonly connections: number;
  readonly refused: number;
  readonly open: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly connectionsTotal: number;
  readonly refusedTotal: number;
  /** Unix time in milliseconds. */
  readonly firstSeen: number;
  readonly lastSeen: number;
  readonly lastReason: string;
  readonly lastPolicy: string;
  readonly lastDetail: string;
}

/** Requests of one peer to one port of one pod that its agent answered in the application's stead. */
export interface SeenRefusedRequests {
  readonly namespace: string;
  readonly pod: string;
  readonly workload: WorkloadUid;
  readonly port: number;
  readonly peer: SeenPeer;
  /** In the window. */
  readonly requests: number;
  /** Unix time in milliseconds. */
  readonly lastSeen: number;
  readonly last: {
    readonly method: string;
    readonly host: string;
    readonly path: string;
    readonly status: number;
    readonly reason: string;
    readonly policy: string;
    readonly detail: string;
  };
}

/** What must be known before absence is taken for proof. */
export interface Coverage {
  readonly node: string;
  /** The agent's start: nothing before it is known. Unix time in milliseconds. */
  readonly since: number;
  readonly longestWindow: number;
  readonly evicted: number;
  readonly merged: number;
}

export interface SeenTraffic {
  readonly rows: readonly SeenRow[];
  readonly refusedRequests: readonly SeenRefusedRequests[];
  /** Nodes by their own addresses. */
  readonly hosts: ReadonlyMap<string, string>;
  readonly coverage: readonly Coverage[];
  readonly outcome: Outcome;
}

export interface GatherOptions extends AskOptions {
  /** Milliseconds; 0 for as long as the agents remember. */
  readonly window: number;
  /** Of the agents' own pods; absent or empty for all. */
  readonly namespace?: string | undefined;
}

export async function gatherTraffic(
  mesh: MeshClient,
  options: GatherOptions,
  signal: AbortSignal,
): Promise<SeenTraffic> {
  const { window, namespace = "", ...rest } = options;
  const asked = mesh.ask({ case: "listTraffic", value: { window: BigInt(window), namespace } }, rest, signal);
  const found: SeenRow[] = [];
  const requests: SeenRefusedRequests[] = [];
  const coverage: Coverage[] = [];
  const hosts = new Map<string, string>();
  for await (const { node, kind } of asked) {
    if (kind.case !== "traffic") continue;
    if (kind.value.coverage !== undefined) {
      for (const address of kind.value.coverage.hostAddresses) hosts.set(ipText(address), node);
      const { since, longestWindow, evicted, merged } = kind.value.coverage;
      coverage.push({
        node,
        since: milliseconds(since),
        longestWindow: Number(longestWindow),
        evicted: Number(evicted),
        merged: Number(merged),
      });
    }
    for (const row of kind.value.rows) found.push(seenRow(node, row));
    requests.push(...kind.value.refusedRequests.map(seenRefusedRequests));
  }
  // A node's address may be seen from any other node.
  const placed = <Row extends { readonly peer: SeenPeer }>(row: Row): Row => ({
    ...row,
    peer: { ...row.peer, hostNode: hosts.get(row.peer.address) ?? "" },
  });
  const [rows, refusedRequests] = [found.map(placed), requests.map(placed)];
  return { rows, refusedRequests, hosts, coverage: coverage.sort(byNode), outcome: asked.outcome };
}

/** Everything that is remembered, with what is counted in the window: who came last may have come before it. */
export async function gatherWindow(
  mesh: MeshClient,
  options: GatherOptions,
  signal: AbortSignal,
): Promise<SeenTraffic> {
  const all = await gatherTraffic(mesh, { ...options, window: 0 }, signal);
  const recent = await gatherTraffic(mesh, options, signal);
  const counts = new Map(recent.rows.map((row) => [keyOfRow(row), row]));
  const rows = all.rows.map((row) => {
    const { connections = 0, refused = 0 } = counts.get(keyOfRow(row)) ?? {};
    return { ...row, connections, refused };
  });
  return { ...recent, rows };
}

export function keyOfRow({ node, podUid, direction, port, security, peer }: SeenRow): string {
  const who = peer.workload === "" ? `${peer.address} ${peer.identity}` : peer.workload;
  return [node, podUid, direction, port, security, who].join(" ");
}

/** What one pod's kernel says of its sockets. */
export interface SeenSockets {
  readonly node: string;
  readonly podUid: string;
  readonly namespace: string;
  readonly pod: string;
  readonly workload: WorkloadUid;
  readonly listening: readonly { readonly port: number; readonly protocol: "tcp" | "udp" }[];
  readonly uncarried: readonly {
    readonly direction: "inbound" | "outbound";
    readonly local: string;
    readonly localPort: number;
    readonly remote: string;
    readonly remoteAddress: string;
    readonly remotePort: number;
  }[];
  /** Why nothing is known; empty when it is. */
  readonly error: string;
}

export async function gatherSockets(
  mesh: MeshClient,
  options: AskOptions & { readonly namespace?: string | undefined; readonly podUids?: readonly string[] },
  signal: AbortSignal,
): Promise<{ readonly pods: readonly SeenSockets[]; readonly outcome: Outcome }> {
  const { namespace = "", podUids = [], ...rest } = options;
  const asked = mesh.ask({ case: "listSockets", value: { namespace, podUids: [...podUids] } }, rest, signal);
  const pods: SeenSockets[] = [];
  for await (const { node, kind } of asked) {
    if (kind.case === "sockets") pods.push(...kind.value.pods.map((pod) => seenSockets(node, pod)));
  }
  return { pods, outcome: asked.outcome };
}

function seenRow(node: string, row: TrafficRow): SeenRow {
  return {
    node,
    podUid: row.podUid,
    namespace: row.podNamespace,
    pod: row.podName,
    workload: row.podWorkload as WorkloadUid,
    direction: row.outbound ? "outbound" : "inbound",
    port: row.port,
    security: securityWord(row.security),
    peer: seenPeer(row.peer),
    service: row.service,
    connections: Number(row.connections),
    refused: Number(row.refused),
    open: Number(row.open),
    bytesSent: Number(row.bytesSent),
    bytesReceived: Number(row.bytesReceived),
    connectionsTotal: Number(row.connectionsTotal),
    refusedTotal: Number(row.refusedTotal),
    firstSeen: milliseconds(row.firstSeen),
    lastSeen: milliseconds(row.lastSeen),
    lastReason: row.lastReason,
    lastPolicy: row.lastPolicy,
    lastDetail: row.lastDetail,
  };
}

function seenRefusedRequests(row: RefusedRequests): SeenRefusedRequests {
  const { method = "", host = "", path = "", status = 0 } = row.last ?? {};
  return {
    namespace: row.podNamespace,
    pod: row.podName,
    workload: row.podWorkload as WorkloadUid,
    port: row.port,
    peer: seenPeer(row.peer),
    requests: Number(row.requests),
    lastSeen: milliseconds(row.lastSeen),
    last: { method, host, path, status, reason: row.lastReason, policy: row.lastPolicy, detail: row.lastDetail },
  };
}

function seenPeer(peer: TrafficRow["peer"]): SeenPeer {
  const { workload = "", namespace = "", name = "", owner = "", address, identity = "", enrolled = false } = peer ?? {};
  return {
    workload: workload as WorkloadUid | "",
    namespace,
    name,
    owner,
    address: address === undefined ? "" : ipText(address),
    identity,
    enrolled,
    hostNode: "",
  };
}

function seenSockets(node: string, pod: PodSockets): SeenSockets {
  return {
    node,
    podUid: pod.podUid,
    namespace: pod.namespace,
    pod: pod.name,
    workload: pod.workload as WorkloadUid,
    listening: pod.listening.map(({ port, udp }) => ({ port, protocol: udp ? "udp" : "tcp" })),
    uncarried: pod.uncarried.map(({ outbound, local, remote }) => ({
      direction: outbound ? "outbound" : "inbound",
      local: socketText(local),
      localPort: local?.port ?? 0,
      remote: socketText(remote),
      remoteAddress: remote === undefined ? "" : ipText(remote.address),
      remotePort: remote?.port ?? 0,
    })),
    error: pod.error,
  };
}

function milliseconds(time: WireTime | undefined): number {
  return time === undefined ? 0 : unixMs(time);
}

function byNode(one: Coverage, other: Coverage): number {
  return one.node < other.node ? -1 : 1;
}
