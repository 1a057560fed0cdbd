/** Open flows and tunnels as the wire carries them, and which of them a filter means. Pure. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SocketAddress } from "../../model/address.ts";
import type { FlowLabel } from "../../model/flow-label.ts";
import type { LocalPod, Workload } from "../../model/workload.ts";
import { type FlowProgress, type FlowRole, securityOf } from "../../telemetry/flow-record.ts";
import type { OpenFlow, OpenTunnel } from "../../tunnel/driver.ts";
import {
  type EndpointSchema,
  type FlowFilter,
  type FlowSchema,
  Security,
  type SocketAddressSchema,
  Tunnel_Direction,
  type TunnelSchema,
  FlowRole as WireRole,
} from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { wireAddress } from "../../xds/resources/checked.ts";
import { wireTime } from "../../xds/wire-time.ts";

const roles: Readonly<Record<FlowRole, WireRole>> = {
  outbound: WireRole.OUTBOUND,
  "inbound-plaintext": WireRole.INBOUND_PLAINTEXT,
  "inbound-hbone": WireRole.INBOUND_HBONE,
};

const securities = {
  mutual_tls: Security.MUTUAL_TLS,
  none: Security.NONE,
  local: Security.LOCAL,
  unknown: Security.UNKNOWN,
} as const;

/** What a filter is asked about. */
export interface FlowFacts {
  readonly flow: FlowProgress;
  readonly label: FlowLabel;
  readonly pod: LocalPod | undefined;
}

export function roleOf({ role }: FlowProgress): WireRole {
  return roles[role];
}

export function wireSecurity({ flow, label }: FlowFacts): Security {
  return securities[securityOf(flow, label)];
}

/** All given fields must agree. */
export function flowMatches(filter: FlowFilter | undefined, facts: FlowFacts): boolean {
  if (filter === undefined) return true;
  const { flow, label, pod } = facts;
  const agrees = (wanted: string | number, found: string | number | undefined) =>
    wanted === "" || wanted === 0 || wanted === found;
  return (
    agrees(filter.sourceNamespace, label.source?.namespace) &&
    agrees(filter.destinationNamespace, label.destination?.namespace) &&
    isWorkload(filter.sourceWorkload, label.source) &&
    isWorkload(filter.destinationWorkload, label.destination) &&
    [label.source, label.destination].some(
      (end) => agrees(filter.namespace, end?.namespace) && isWorkload(filter.workload, end),
    ) &&
    agrees(filter.podUid, pod?.uid) &&
    agrees(filter.destinationPort, flow.destination.port) &&
    agrees(filter.security, wireSecurity(facts)) &&
    agrees(filter.role, roleOf(flow))
  );
}

/** A pod's name, or its owner's as `Kind/name`. */
function isWorkload(wanted: string, workload: Workload | undefined): boolean {
  if (wanted === "") return true;
  if (workload === undefined) return false;
  return wanted === workload.name || wanted === `${workload.owner.kind}/${workload.owner.name}`;
}

export function wireSocket({ address, port }: SocketAddress): MessageInitShape<typeof SocketAddressSchema> {
  return { address: wireAddress(address), port };
}

/** Both ends as the flow was judged. An identity stands only where a handshake, or the pod's own namespace, proved it. */
export function wireEnds({ flow, label, pod }: FlowFacts): {
  readonly source: MessageInitShape<typeof EndpointSchema>;
  readonly destination: MessageInitShape<typeof EndpointSchema>;
} {
  const security = securityOf(flow, label);
  const own = security === "mutual_tls" || security === "local" ? (pod?.identity ?? "") : "";
  const outbound = flow.role === "outbound";
  return {
    source: endpoint(flow.source, label.source, outbound ? own : flow.peer),
    destination: endpoint(flow.destination, label.destination, outbound ? flow.peer : own),
  };
}

function endpoint(
  address: SocketAddress,
  workload: Workload | undefined,
  identity: string,
): MessageInitShape<typeof EndpointSchema> {
  return {
    address: wireSocket(address),
    namespace: workload?.namespace ?? "",
    workload: workload?.name ?? "",
    owner: workload === undefined ? "" : `${workload.owner.kind}/${workload.owner.name}`,
    identity,
  };
}

export function serviceName({ service }: FlowLabel): string {
  return service === undefined ? "" : `${service.namespace}/${service.hostname}`;
}

export function wireFlow(open: OpenFlow): MessageInitShape<typeof FlowSchema> {
  const facts: FlowFacts = { flow: open, label: open.judged, pod: open.localPod };
  return {
    flow: BigInt(open.flow),
    role: roleOf(open),
    ...wireEnds(facts),
    service: serviceName(open.judged),
    security: wireSecurity(facts),
    policy: open.judged.policy,
    tunnel: BigInt(open.tunnel),
    ...(open.target === undefined ? {} : { target: wireSocket(open.target) }),
    bytesSent: BigInt(open.bytesSent),
    bytesReceived: BigInt(open.bytesReceived),
    openedAt: wireTime(open.arrivedAt),
  };
}

export function wireTunnel(tunnel: OpenTunnel): MessageInitShape<typeof TunnelSchema> {
  const { localPod, tls } = tunnel;
  return {
    tunnel: BigInt(tunnel.tunnel),
    direction: tunnel.direction === "outbound" ? Tunnel_Direction.OUTBOUND : Tunnel_Direction.INBOUND,
    podUid: localPod?.uid ?? "",
    localIdentity: localPod?.identity ?? "",
    peerIdentity: tunnel.peer,
    peer: wireSocket(tunnel.peerAddress),
    tlsVersion: tls.version,
    tlsGroup: tls.group,
    tlsCipher: tls.cipher,
    flows: tunnel.flows,
    openedAt: wireTime(tunnel.openedAt),
  };
}
