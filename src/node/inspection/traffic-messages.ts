/** Observed traffic, sockets and tap events as the wire carries them, and what a tap's filter means. Pure. */
import type { MessageInitShape } from "@bufbuild/protobuf";

import type { PodSocketList } from "../../capture/pod-sockets.ts";
import type { Service } from "../../model/service.ts";
import type { LocalPod, Workload } from "../../model/workload.ts";
import type { securityOf } from "../../telemetry/flow-record.ts";
import type { ObservedPeer, ObservedRow, ObservedTraffic } from "../../telemetry/observed/observed-traffic.ts";
import type { RefusedRequestsRow } from "../../telemetry/observed/refused-requests.ts";
import { longestWindow } from "../../telemetry/observed/sliding-count.ts";
import type { TapEndpoint, TapEvent } from "../../telemetry/tap/tap-event.ts";
import type { TapFilter, TapParty } from "../../telemetry/tap/tap-filter.ts";
import {
  type EndpointSchema,
  type FlowFilter,
  FlowRole,
  type PodSocketsSchema,
  type RefusedRequestsSchema,
  Security,
  type Tap,
  type TapEventSchema,
  type TrafficCoverageSchema,
  type TrafficRow_PeerSchema,
  type TrafficRowSchema,
  Verdict,
} from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { wireAddress } from "../../xds/resources/checked.ts";
import { wireTime } from "../../xds/wire-time.ts";
import { wireSocket } from "./flow-rows.ts";

type SecurityWord = ReturnType<typeof securityOf>;

const securities: Readonly<Record<SecurityWord, Security>> = {
  mutual_tls: Security.MUTUAL_TLS,
  none: Security.NONE,
  local: Security.LOCAL,
  unknown: Security.UNKNOWN,
};
const roles: Readonly<Record<TapEvent["role"], FlowRole>> = {
  outbound: FlowRole.OUTBOUND,
  "inbound-plaintext": FlowRole.INBOUND_PLAINTEXT,
  "inbound-hbone": FlowRole.INBOUND_HBONE,
};
const verdicts: ReadonlyMap<Verdict, "allowed" | "refused"> = new Map([
  [Verdict.ALLOWED, "allowed"],
  [Verdict.REFUSED, "refused"],
]);
const words = new Map(Object.entries(securities).map(([word, security]) => [security, word as SecurityWord]));

export function wireCoverage(
  traffic: ObservedTraffic,
  hostAddresses: readonly string[],
): MessageInitShape<typeof TrafficCoverageSchema> {
  const { evictedTotal, mergedTotal } = traffic.stats();
  return {
    since: wireTime(traffic.since),
    longestWindow: BigInt(longestWindow),
    evicted: BigInt(evictedTotal),
    merged: BigInt(mergedTotal),
    hostAddresses: hostAddresses.map(wireAddress),
  };
}

export function wireTrafficRow(row: ObservedRow): MessageInitShape<typeof TrafficRowSchema> {
  const { pod, lastRefusal } = row;
  return {
    podUid: pod.uid,
    podNamespace: pod.namespace,
    podName: pod.name,
    podWorkload: pod.workload,
    outbound: row.direction === "outbound",
    port: row.port,
    security: securities[row.security],
    peer: wirePeer(row.peer),
    service: serviceName(row.service),
    connections: BigInt(row.connections),
    refused: BigInt(row.refused),
    open: BigInt(row.open),
    bytesSent: BigInt(row.bytesSent),
    bytesReceived: BigInt(row.bytesReceived),
    connectionsTotal: BigInt(row.connectionsTotal),
    refusedTotal: BigInt(row.refusedTotal),
    firstSeen: wireTime(row.firstSeen),
    lastSeen: wireTime(row.lastSeen),
    lastReason: lastRefusal?.reason ?? "",
    lastPolicy: lastRefusal?.policy ?? "",
    lastDetail: lastRefusal?.detail ?? "",
  };
}

export function wireRefusedRequests(row: RefusedRequestsRow): MessageInitShape<typeof RefusedRequestsSchema> {
  const { pod, last } = row;
  const { method, host, path, status } = last;
  return {
    podUid: pod.uid,
    podNamespace: pod.namespace,
    podName: pod.name,
    podWorkload: pod.workload,
    port: row.port,
    peer: wirePeer(row.peer),
    requests: BigInt(row.requests),
    requestsTotal: BigInt(row.requestsTotal),
    firstSeen: wireTime(row.firstSeen),
    lastSeen: wireTime(row.lastSeen),
    last: { method, host, path, status },
    lastReason: last.reason,
    lastPolicy: last.policy,
    lastDetail: last.detail,
  };
}

function wirePeer({ workload, address, identity }: ObservedPeer): MessageInitShape<typeof TrafficRow_PeerSchema> {
  return {
    workload: workload?.uid ?? "",
    namespace: workload?.namespace ?? "",
    name: workload?.name ?? "",
    owner: ownerOf(workload),
    ...(address === "" ? {} : { address: wireAddress(address) }),
    identity,
    enrolled: workload?.tunnel === "hbone",
  };
}

export function wirePodSockets(
  pod: LocalPod,
  found: PodSocketList | string,
): MessageInitShape<typeof PodSocketsSchema> {
  const { uid: podUid, namespace, name, workload } = pod;
  if (typeof found === "string") return { podUid, namespace, name, workload, error: found };
  return {
    podUid,
    namespace,
    name,
    workload,
    listening: found.listening.map(({ protocol, port }) => ({ port, udp: protocol === "udp" })),
    uncarried: found.uncarried.map(({ direction, local, remote }) => ({
      outbound: direction === "outbound",
      local: wireSocket(local),
      remote: wireSocket(remote),
    })),
  };
}

export function tapFilterOf({ filter, verdict }: Pick<Tap, "filter" | "verdict">): TapFilter {
  const wanted = verdicts.get(verdict);
  return {
    ...(filter === undefined ? {} : flowFilterOf(filter)),
    ...(wanted === undefined ? {} : { verdict: wanted }),
  };
}

function flowFilterOf(filter: FlowFilter): TapFilter {
  const { podUid, destinationPort, role } = filter;
  const source = partyOf(filter.sourceNamespace, filter.sourceWorkload);
  const destination = partyOf(filter.destinationNamespace, filter.destinationWorkload);
  const party = partyOf(filter.namespace, filter.workload);
  const security = words.get(filter.security);
  return {
    ...(source === undefined ? {} : { source }),
    ...(destination === undefined ? {} : { destination }),
    ...(party === undefined ? {} : { party }),
    ...(podUid === "" ? {} : { podUid }),
    ...(destinationPort === 0 ? {} : { destinationPort }),
    ...(security === undefined ? {} : { security }),
    ...(role === FlowRole.UNSPECIFIED ? {} : { side: role === FlowRole.OUTBOUND ? "source" : "destination" }),
  };
}

function partyOf(namespace: string, workload: string): TapParty | undefined {
  if (namespace === "" && workload === "") return undefined;
  return { ...(namespace === "" ? {} : { namespace }), ...(workload === "" ? {} : { workload }) };
}

export function wireTapEvent(event: TapEvent): MessageInitShape<typeof TapEventSchema> {
  return {
    at: wireTime(event.at),
    flow: BigInt(event.flow),
    role: roles[event.role],
    source: endpoint(event.source),
    destination: endpoint(event.destination),
    service: serviceName(event.service),
    security: securities[event.security],
    reason: event.reason,
    policy: event.policy,
    kind: happening(event),
  };
}

function happening({ happened }: TapEvent): NonNullable<MessageInitShape<typeof TapEventSchema>["kind"]> {
  switch (happened.kind) {
    case "opened":
      return { case: "opened", value: {} };
    case "refused":
      return { case: "refused", value: { detail: happened.detail } };
    case "ended": {
      const { bytesSent, bytesReceived, durationMs: duration, detail } = happened;
      const value = { bytesSent: BigInt(bytesSent), bytesReceived: BigInt(bytesReceived), duration, detail };
      return { case: "ended", value };
    }
    case "request": {
      const { method, host, path, status } = happened;
      return { case: "request", value: { method, host, path, status } };
    }
  }
}

function endpoint({ address, workload, identity }: TapEndpoint): MessageInitShape<typeof EndpointSchema> {
  return {
    address: wireSocket(address),
    namespace: workload?.namespace ?? "",
    workload: workload?.name ?? "",
    owner: ownerOf(workload),
    identity,
  };
}

function ownerOf(workload: Workload | undefined): string {
  return workload === undefined ? "" : `${workload.owner.kind}/${workload.owner.name}`;
}

function serviceName(service: Service | undefined): string {
  return service === undefined ? "" : `${service.namespace}/${service.hostname}`;
}
