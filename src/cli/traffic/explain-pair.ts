/** `why`: asks both agents about two workloads, and joins what they say. */
import { MeshError } from "../../lib/errors.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import type { Finding } from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { type AskOptions, type Outcome, rowsOf } from "../query/asked.ts";
import { certificateLine } from "../query/certificate-rows.ts";
import type { MeshClient } from "../query/mesh-client.ts";
import { type NodeStatus, nodeStatuses } from "../query/node-statuses.ts";
import { answer, type ExplainedAnswer, type QuestionFlags } from "../query/question.ts";
import { addressIn, findService, portBehind } from "../query/service-reference.ts";
import { findWorkloads } from "../query/workload-reference.ts";
import {
  gatherSockets,
  gatherTraffic,
  type SeenPeer,
  type SeenRefusedRequests,
  type SeenRow,
  type SeenSockets,
} from "./gather.ts";
import { type Cause, type CauseFacts, likelyCauses, type RememberedRefusal, type SideFacts } from "./likely-causes.ts";

export interface PairAnswer {
  readonly source: SideFacts;
  readonly destination: CauseFacts["destination"];
  readonly port: number;
  /** `ALLOW`, `DENY`, or `DEPENDS` on the request. */
  readonly outcome: "ALLOW" | "DENY" | "DEPENDS";
  readonly verdict: CauseFacts["verdict"];
  /** What the agents have seen between the two. */
  readonly seen: readonly {
    readonly side: "source" | "destination";
    readonly security: string;
    readonly connections: number;
    readonly refused: number;
    readonly open: number;
    readonly lastSeen: string;
  }[];
  readonly refusals: readonly RememberedRefusal[];
  readonly uncarried: number;
  readonly causes: readonly Cause[];
}

export interface PairOptions extends AskOptions {
  /** A workload, or `plaintext` for a client outside the mesh. */
  readonly from: string;
  /** A workload, with `:port` where it is not to be every port. */
  readonly to: string;
  readonly namespace: string;
  readonly window: number;
  /** What a request says, where one is asked about. */
  readonly request: Pick<QuestionFlags, "method" | "path" | "host" | "header">;
}

export async function explainPair(
  mesh: MeshClient,
  options: PairOptions,
  signal: AbortSignal,
): Promise<{ readonly answers: readonly PairAnswer[]; readonly outcome: Outcome }> {
  const { from, to, namespace, window, request, ...asking } = options;
  const view = await mesh.mesh(signal);
  // The end of a bare IPv6 address is no port.
  const [, reference = to, digits = ""] = (addressIn(to) === undefined && /^(.+):(\d{1,5})$/.exec(to)) || [];
  const [source] = from === "plaintext" ? [undefined] : findWorkloads(view, from, namespace);
  const destinations = findWorkloads(view, reference, namespace);
  const service = findService(view, reference, namespace);
  const certificates = mesh.ask({ case: "listCertificates", value: {} }, asking, signal);
  const pods = mesh.ask({ case: "listPods", value: {} }, asking, signal);
  const [traffic, sockets, statuses, certificateRows, podRows, controls] = await Promise.all([
    gatherTraffic(mesh, { ...asking, window }, signal),
    gatherSockets(mesh, asking, signal),
    nodeStatuses(mesh, asking, signal),
    rowsOf(certificates, "certificates", (page, { node }) =>
      // That one is revoked its refusals tell.
      page.certificates.map((one) => certificateLine(node, one, { now: Date.now(), isRevoked: () => false })),
    ),
    rowsOf(pods, "pods", (page, { node }) => page.pods.map((one) => ({ ...one, node }))),
    mesh.controls(signal),
  ]);
  const findings = controls.flatMap((control) => control.findings);
  const side = (workload: Workload): SideFacts => {
    const pod = podRows.find(({ namespace: of, name }) => of === workload.namespace && name === workload.name);
    const held = certificateRows.find(({ node, identity }) => node === workload.node && identity === workload.identity);
    return {
      ...placeOf(workload, statuses.rows),
      captureState: pod?.state ?? "",
      captureError: pod?.lastError ?? "",
      certificate: held === undefined ? "" : held.valid ? "ready" : held.state === "ready" ? "unavailable" : held.state,
      certificateError: held?.lastError ?? "",
    };
  };
  const answers: PairAnswer[] = [];
  for (const destination of destinations) {
    const meant = digits === "" ? undefined : portBehind(view, service, destination, Number(digits));
    for (const port of meant === undefined ? portsOf(view, destination, traffic.rows, source) : [meant]) {
      const asked =
        from === "plaintext" || source === undefined ? "plaintext" : `${source.namespace}/${source.serviceAccount}`;
      const [explained] = answer(view, destination.namespace, {
        from: source?.tunnel === "none" ? "plaintext" : asked,
        to: `pod/${destination.name}:${port}`,
        ...(source?.addresses[0] === undefined ? {} : { sourceIp: source.addresses[0] }),
        ...request,
      });
      if (explained === undefined) continue;
      const between = rowsBetween(traffic.rows, source, destination, port);
      const facts: CauseFacts = {
        source: source === undefined ? stranger : side(source),
        destination: { ...side(destination), port, listening: listensOn(sockets.pods, destination, port) },
        verdict: { ...verdictOf(explained), request: requestText(request) },
        refusals: [...refusalsOf(between), ...refusedRequests(traffic.refusedRequests, source, destination, port)],
        uncarried: uncarriedBetween(sockets.pods, source, destination),
        blocked: [...blockedAt("source", source, findings), ...blockedAt("destination", destination, findings)],
      };
      answers.push({
        source: facts.source,
        destination: facts.destination,
        port,
        outcome: outcomeOf(explained),
        verdict: facts.verdict,
        seen: between.map(({ row, side: of }) => ({
          side: of,
          security: row.security,
          connections: row.connections,
          refused: row.refused,
          open: row.open,
          lastSeen: new Date(row.lastSeen).toISOString(),
        })),
        refusals: facts.refusals,
        uncarried: facts.uncarried,
        causes: likelyCauses(facts),
      });
    }
  }
  return { answers, outcome: traffic.outcome };
}

const stranger: SideFacts = {
  name: "a client outside the mesh",
  node: "",
  enrolled: false,
  notEnrolledBecause: "outside the mesh",
  answered: true,
  captureState: "",
  captureError: "",
  certificate: "",
  certificateError: "",
  clockAheadMs: 0,
  clockUncertainMs: 0,
};

function placeOf(
  { namespace, name, node, tunnel, hostNetwork, labels }: Workload,
  statuses: readonly NodeStatus[],
): Omit<SideFacts, "captureState" | "captureError" | "certificate" | "certificateError"> {
  const status = statuses.find((one) => one.node === node);
  const optedOut = labels.get("warren.dev/mode") === "none" ? "opted out by its label" : "";
  return {
    name: `${namespace}/${name}`,
    node,
    enrolled: tunnel === "hbone",
    notEnrolledBecause: tunnel === "hbone" ? "" : hostNetwork ? "it is on the host network" : optedOut,
    answered: status?.answered === true,
    clockAheadMs: status?.clock.aheadMs ?? 0,
    clockUncertainMs: status?.clock.uncertainMs ?? 0,
  };
}

/** Ports that Services send to, and those that the source has tried. */
function portsOf(
  view: MeshView,
  destination: Workload,
  rows: readonly SeenRow[],
  source: Workload | undefined,
): number[] {
  const ports = new Set<number>();
  for (const service of view.servicesOf(destination)) {
    for (const { port } of service.ports) {
      for (const { workload, targetPort } of view.endpoints(service, port) ?? []) {
        if (workload === destination.uid) ports.add(targetPort);
      }
    }
  }
  for (const { workload, direction, port, peer } of rows) {
    if (workload === destination.uid && direction === "inbound" && peer.workload === source?.uid) ports.add(port);
  }
  if (ports.size > 0) return [...ports].sort((one, other) => one - other);
  throw new MeshError(
    "MESH_CONFIG_TARGET",
    `no Service sends to ${destination.name}: say which port, as in ${destination.name}:8080`,
  );
}

const hboneBlocked = "network-policy-blocks-hbone";

/** Replicas of control find the same. */
function blockedAt(
  side: "source" | "destination",
  workload: Workload | undefined,
  findings: readonly Finding[],
): CauseFacts["blocked"] {
  if (workload === undefined) return [];
  const name = `${workload.namespace}/${workload.name}`;
  const way = side === "source" ? "egress" : "ingress";
  const found = findings.filter((one) => one.object === name && one.code === hboneBlocked && one.direction === way);
  return [...new Set(found.map(({ message }) => message))].map((by) => ({ side, by }));
}

interface Between {
  readonly row: SeenRow;
  readonly side: "source" | "destination";
}

function rowsBetween(
  rows: readonly SeenRow[],
  source: Workload | undefined,
  destination: Workload,
  port: number,
): Between[] {
  return rows.flatMap((row): Between[] => {
    if (row.workload === destination.uid && row.direction === "inbound" && row.port === port) {
      return isFrom(source, row.peer) ? [{ row, side: "destination" }] : [];
    }
    // The client may have asked for a Service's port, which is another one.
    const mine = row.workload === source?.uid && row.direction === "outbound" && row.peer.workload === destination.uid;
    return mine ? [{ row, side: "source" }] : [];
  });
}

function isFrom(source: Workload | undefined, peer: SeenPeer): boolean {
  return source === undefined ? peer.identity === "" : peer.workload === source.uid;
}

/** Answers of the destination's agent to requests: the connections that they came on count as let in. */
function refusedRequests(
  rows: readonly SeenRefusedRequests[],
  source: Workload | undefined,
  destination: Workload,
  port: number,
): RememberedRefusal[] {
  return rows
    .filter((row) => row.workload === destination.uid && row.port === port && isFrom(source, row.peer))
    .map(({ requests: count, lastSeen, last: { reason, policy, detail, ...request } }) => ({
      side: "destination",
      reason,
      policy,
      detail,
      count,
      request,
      lastSeen,
    }));
}

/** `POST /orders`, empty without a request; what is left out of one is as for `authz explain`. */
function requestText({ method, path, host, header }: PairOptions["request"]): string {
  const asked = [method, path, host, header].some((one) => one !== undefined);
  return asked ? `${method ?? "GET"} ${path ?? "/"}` : "";
}

function refusalsOf(between: readonly Between[]): RememberedRefusal[] {
  return between.flatMap(({ row, side }) => {
    const { lastReason: reason, lastPolicy: policy, lastDetail: detail, refusedTotal: count, lastSeen } = row;
    return reason === "" ? [] : [{ side, reason, policy, detail, count, lastSeen }];
  });
}

function listensOn(pods: readonly SeenSockets[], destination: Workload, port: number): boolean | undefined {
  const pod = pods.find(({ workload }) => workload === destination.uid);
  if (pod === undefined || pod.error !== "") return undefined;
  return pod.listening.some((one) => one.protocol === "tcp" && one.port === port);
}

function uncarriedBetween(pods: readonly SeenSockets[], source: Workload | undefined, destination: Workload): number {
  if (source === undefined) return 0;
  const count = (of: Workload, other: Workload) =>
    pods
      .filter(({ workload }) => workload === of.uid)
      .flatMap(({ uncarried }) => uncarried)
      .filter(({ remoteAddress }) => other.addresses.includes(remoteAddress)).length;
  return Math.max(count(source, destination), count(destination, source));
}

function verdictOf({
  outcome,
  enforced,
  reason,
  decidedBy,
  mode,
  arrives,
}: ExplainedAnswer): Omit<CauseFacts["verdict"], "request"> {
  return {
    allowed: !enforced || outcome !== "deny",
    reason,
    policy: decidedBy,
    mode: enforced ? mode.mode : "",
    arrives,
  };
}

function outcomeOf({ outcome, enforced }: ExplainedAnswer): PairAnswer["outcome"] {
  if (!enforced || outcome === "allow") return "ALLOW";
  return outcome === "deny" ? "DENY" : "DEPENDS";
}
