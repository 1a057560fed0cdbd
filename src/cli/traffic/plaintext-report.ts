/**
 * The plaintext report: every conversation in clear that the mesh's agents have seen, why it is in clear, whether STRICT would end it,
 * and what to do. Pure over the state of the mesh and what agents saw, so that the same report can be tested and rehearsed.
 */
import type { EffectiveMode, MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import type { SeenRow, SeenSockets } from "./gather.ts";
import { type NodeAddresses, nodeAddressesOf, ownerText, type PeerRow, peerRow } from "./peer.ts";
import { modeUnderStrict, type RehearsalScope } from "./strict-rehearsal.ts";

/** Stable codes; the first words are the side that would have to change. */
export type PlaintextWhy =
  | "client-not-enrolled"
  | "client-opted-out"
  | "client-host-network"
  | "client-outside"
  | "client-sent-plaintext"
  /** It came in clear and would not any more: the client was enrolled since, or has come with mutual TLS since. */
  | "encrypted-since"
  | "mode-disable"
  | "destination-not-enrolled"
  | "destination-opted-out"
  | "destination-host-network"
  | "destination-outside"
  | "open-before-enrolment"
  | "unknown";

export interface PlaintextRow {
  readonly destination: PeerRow & { readonly port: number; readonly service: string };
  readonly client: PeerRow;
  readonly why: PlaintextWhy;
  readonly connections: number;
  /** Of those that were refused already. */
  readonly refused: number;
  /** ISO 8601; empty where the kernel alone knows of the connection. */
  readonly firstSeen: string;
  readonly lastSeen: string;
  /** What the destination's port accepts now; empty where no agent stands before it. */
  readonly mode: string;
  readonly policy: string;
  /** What STRICT would do: refuse it, make it encrypted, leave it alone, or it is in force and refuses already. */
  readonly strict: "refuses" | "encrypts" | "no-effect" | "refused-already";
  /** Why STRICT would do that, where it isn't plain. */
  readonly strictBecause: string;
  readonly fix: string;
}

export interface PlaintextInput {
  readonly view: MeshView;
  readonly rows: readonly SeenRow[];
  readonly sockets: readonly SeenSockets[];
  /** Nodes by their own addresses. */
  readonly hosts: ReadonlyMap<string, string>;
  /** Undefined: STRICT is asked for where the destination is. */
  readonly scope: RehearsalScope | undefined;
}

export function plaintextRows(input: PlaintextInput): PlaintextRow[] {
  const nodes = nodeAddressesOf(input.view);
  const rows = [
    ...input.rows.flatMap((row) => (row.security === "none" ? observed(input, nodes, row) : [])),
    ...input.sockets.flatMap((pod) => openBefore(input, nodes, pod)),
  ];
  return merged(rows).sort(byDestination);
}

function observed(input: PlaintextInput, nodes: NodeAddresses, row: SeenRow): PlaintextRow[] {
  const { view } = input;
  const own = view.workload(row.workload);
  const local = localEnd(row, own);
  const far = peerRow(view, nodes, row.peer);
  const counts = {
    connections: row.connections,
    refused: row.refused,
    firstSeen: new Date(row.firstSeen).toISOString(),
    lastSeen: new Date(row.lastSeen).toISOString(),
  };
  if (row.direction === "inbound") {
    const destination = { ...local, port: row.port, service: row.service };
    const mode = own === undefined ? undefined : view.inboundMode(own, row.port);
    const why = encryptedSince(input, row, far) ? "encrypted-since" : inboundWhy(far, mode);
    const strict = own === undefined ? noEffect("the destination has gone") : underStrict(input, own, row, far, why);
    return [
      { destination, client: far, why, ...counts, ...modeFields(mode), ...strict, fix: fixOf(why, far, destination) },
    ];
  }
  // An enrolled destination's own agent tells of it, with what it was refused for.
  if (far.kind === "enrolled") return [];
  const destination = { ...far, port: row.port, service: row.service };
  const why = outboundWhy(far);
  const strict = noEffect("no agent stands before the destination");
  return [
    {
      destination,
      client: local,
      why,
      ...counts,
      ...modeFields(undefined),
      ...strict,
      fix: fixOf(why, local, destination),
    },
  ];
}

function openBefore(input: PlaintextInput, nodes: NodeAddresses, pod: SeenSockets): PlaintextRow[] {
  const { view } = input;
  const own = view.workload(pod.workload);
  const local = localEnd(pod, own);
  return pod.uncarried.map((connection) => {
    const far = peerRow(view, nodes, {
      ...nobody,
      address: connection.remoteAddress,
      hostNode: input.hosts.get(connection.remoteAddress) ?? "",
    });
    const inbound = connection.direction === "inbound";
    const port = inbound ? connection.localPort : connection.remotePort;
    const destination = { ...(inbound ? local : far), port, service: "" };
    const mode = inbound && own !== undefined ? view.inboundMode(own, port) : undefined;
    return {
      destination,
      client: inbound ? far : local,
      why: "open-before-enrolment",
      connections: 1,
      refused: 0,
      firstSeen: "",
      lastSeen: "",
      ...modeFields(mode),
      ...noEffect("it passes the mesh by until it is opened anew"),
      fix: `warren enroll ns/${local.namespace} --cut closes it; its application connects anew, through the mesh`,
    };
  });
}

const nobody = { workload: "", namespace: "", name: "", owner: "", identity: "", enrolled: false } as const;

function localEnd(row: Pick<SeenRow, "namespace" | "pod" | "node">, workload: Workload | undefined): PeerRow {
  const { namespace, pod, node } = row;
  return {
    kind: "enrolled",
    namespace,
    pod,
    owner: workload === undefined ? "" : `${workload.owner.kind}/${workload.owner.name}`,
    node,
    address: workload?.addresses[0] ?? "",
    identity: "",
  };
}

function inboundWhy(client: PeerRow, mode: EffectiveMode | undefined): PlaintextWhy {
  switch (client.kind) {
    case "enrolled":
      return mode?.mode === "DISABLE" ? "mode-disable" : "client-sent-plaintext";
    case "not-enrolled":
      return "client-not-enrolled";
    case "opted-out":
      return "client-opted-out";
    case "host-network":
      return "client-host-network";
    case "outside":
      return "client-outside";
    case "others":
      return "unknown";
  }
}

/** History: nothing of it is left that STRICT could end. */
function encryptedSince({ rows }: PlaintextInput, plain: SeenRow, client: PeerRow): boolean {
  if (client.kind !== "enrolled") return false;
  if (!plain.peer.enrolled) return true;
  return rows.some(
    ({ workload, direction, port, security, peer, lastSeen, connections }) =>
      workload === plain.workload &&
      direction === "inbound" &&
      port === plain.port &&
      security === "mutual_tls" &&
      peer.workload === plain.peer.workload &&
      connections > 0 &&
      lastSeen > plain.lastSeen,
  );
}

function outboundWhy(destination: PeerRow): PlaintextWhy {
  switch (destination.kind) {
    case "not-enrolled":
      return "destination-not-enrolled";
    case "opted-out":
      return "destination-opted-out";
    case "host-network":
      return "destination-host-network";
    case "outside":
      return "destination-outside";
    case "enrolled":
    case "others":
      return "unknown";
  }
}

type StrictFields = Pick<PlaintextRow, "strict" | "strictBecause">;

function noEffect(strictBecause: string): StrictFields {
  return { strict: "no-effect", strictBecause };
}

function underStrict(
  { view, scope }: PlaintextInput,
  own: Workload,
  row: SeenRow,
  client: PeerRow,
  why: PlaintextWhy,
): StrictFields {
  const wanted = scope ?? { kind: "namespace", namespace: own.namespace };
  const now = view.inboundMode(own, row.port);
  const then = modeUnderStrict(view, wanted, own, row.port);
  if (then.mode !== "STRICT") {
    return noEffect(then.policy === now.policy ? `${then.policy || "the default"} keeps ${then.mode} here` : "");
  }
  if (now.mode === "STRICT" && why !== "encrypted-since")
    return { strict: "refused-already", strictBecause: `${now.policy} is in force` };
  if (why === "encrypted-since") return { strict: "encrypts", strictBecause: "the client is in the mesh now" };
  // Peers of the mesh read the mode: where it is no longer DISABLE they use a tunnel.
  if (why === "mode-disable" && client.kind === "enrolled") {
    return { strict: "encrypts", strictBecause: "the client is in the mesh and would use a tunnel" };
  }
  return { strict: "refuses", strictBecause: "" };
}

function modeFields(mode: EffectiveMode | undefined): Pick<PlaintextRow, "mode" | "policy"> {
  return { mode: mode?.mode ?? "", policy: mode?.policy ?? "" };
}

function fixOf(why: PlaintextWhy, client: PeerRow, destination: PlaintextRow["destination"]): string {
  const port = destination.port;
  const exception = `or a portLevelMtls exception for port ${port} of ${ownerText(destination)}`;
  switch (why) {
    case "client-not-enrolled":
      return `enrol the client: warren enroll ns/${client.namespace}; ${exception}`;
    case "client-opted-out":
      return `take warren.dev/mode: none from pod ${client.namespace}/${client.pod}; ${exception}`;
    case "client-host-network":
      return `host-network programs can't be enrolled: move the client off hostNetwork, ${exception}`;
    case "client-outside":
      return `let ${client.address} come through a gateway in the mesh, ${exception}`;
    case "client-sent-plaintext":
      return `find out why its agent did not carry it: warren why ${client.namespace}/${client.pod} ${ownerText(destination)}:${port}`;
    case "encrypted-since":
      return "nothing: it uses mutual TLS now";
    case "mode-disable":
      return "take DISABLE away from the policy, if the application can live with tunnels";
    case "destination-not-enrolled":
      return `enrol the destination: warren enroll ns/${destination.namespace}`;
    case "destination-opted-out":
      return `take warren.dev/mode: none from pod ${destination.namespace}/${destination.pod}`;
    case "destination-host-network":
      return "host-network programs can't be enrolled: use TLS of the application's own";
    case "destination-outside":
      return "it leaves the cluster: use TLS of the application's own, or an egress gateway";
    case "open-before-enrolment":
      return `warren enroll ns/${destination.namespace || client.namespace} --cut`;
    case "unknown":
      return "too many peers to tell one by one: see the access log of the destination's node";
  }
}

/** One row for pods of one owner that say the same to the same. */
function merged(rows: readonly PlaintextRow[]): PlaintextRow[] {
  const byKey = new Map<string, PlaintextRow>();
  for (const row of rows) {
    const { destination, client } = row;
    const who = client.owner === "" ? client.address : `${client.namespace} ${client.owner} ${client.node}`;
    const key = [ownerText(destination), destination.port, who, client.kind, row.why, row.mode, row.strict].join(" ");
    const before = byKey.get(key);
    byKey.set(key, before === undefined ? row : joined(before, row));
  }
  return [...byKey.values()];
}

function joined(one: PlaintextRow, other: PlaintextRow): PlaintextRow {
  return {
    ...(one.lastSeen >= other.lastSeen ? one : other),
    connections: one.connections + other.connections,
    refused: one.refused + other.refused,
    firstSeen: [one.firstSeen, other.firstSeen].filter((time) => time !== "").sort()[0] ?? "",
  };
}

function byDestination(one: PlaintextRow, other: PlaintextRow): number {
  const key = ({ destination, client, why }: PlaintextRow) =>
    [ownerText(destination), String(destination.port).padStart(5), ownerText(client), why].join(" ");
  return key(one) < key(other) ? -1 : 1;
}
