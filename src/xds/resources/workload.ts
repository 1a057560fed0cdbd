/**
 * Workloads: `istio.workload.Workload` with Warren's detail, and endpoints that are no pods of the mesh, which Istio's protocol knows
 * as workloads of the kind EndpointSlice. Whether an endpoint is usable was decided by whoever encodes: a workload stands behind
 * every Service in `services` and takes connections for the ports that are listed there.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import type { ServiceEndpoint } from "../../model/service.ts";
import type { Workload, WorkloadUid } from "../../model/workload.ts";
import {
  AddressSchema,
  NetworkMode,
  type PortList,
  TunnelProtocol,
  type Workload as WireWorkload,
  WorkloadSchema,
  WorkloadStatus,
  WorkloadType,
} from "../gen/istio/workload/workload_pb.ts";
import { type WorkloadDetail, WorkloadDetailSchema } from "../gen/warren/mesh/v1/detail_pb.ts";
import { checkedAddress, checkedIdentity, checkedName, checkedPort, checkedText, wireAddress } from "./checked.ts";
import { detailExtension, detailOf } from "./detail.ts";
import { InvalidResource, type NamedResource } from "./resource-types.ts";

/** One way to reach a Service's port through a workload. */
export interface MemberEndpoint extends Omit<ServiceEndpoint, "workload"> {
  readonly port: number;
}

/** What a workload is to the Services that it stands behind: usable endpoints by `namespace/hostname`; none while it is not ready. */
export type Memberships = ReadonlyMap<string, readonly MemberEndpoint[]>;

export type DecodedWorkload =
  | { readonly kind: "workload"; readonly workload: Workload; readonly memberships: Memberships }
  /** An endpoint that is no pod of the mesh. */
  | { readonly kind: "external"; readonly uid: WorkloadUid; readonly memberships: Memberships };

export const noMemberships: Memberships = new Map();

const ownerTypes: ReadonlyMap<string, WorkloadType> = new Map([
  ["Deployment", WorkloadType.DEPLOYMENT],
  ["CronJob", WorkloadType.CRONJOB],
  ["Pod", WorkloadType.POD],
  ["Job", WorkloadType.JOB],
]);
const ownerKinds = new Map([...ownerTypes].map(([kind, type]) => [type, kind]));

export function encodeWorkload(
  workload: Workload,
  memberships: Memberships = noMemberships,
  attached: readonly string[] = workload.attachedPolicies ?? [],
  /** For clients that know only Istio's types: whether any port of it takes tunnels. */
  tunnels = true,
): NamedResource {
  const { uid, hostNetwork, owner, labels } = workload;
  // The model gives host-network pods no address of their own; on the wire they have the node's, as endpoints show it.
  const texts = hostNetwork ? addressesOf(memberships) : workload.addresses;
  const addresses = texts.map(wireAddress);
  const services: Record<string, PortList> = {};
  const endpoints: WorkloadDetail["endpoints"] = [];
  for (const [key, list] of [...memberships].sort(byKey)) {
    services[key] = portList(list);
    if (sameEndpoints(derivedEndpoints(services[key], texts), list)) continue;
    for (const endpoint of list) endpoints.push(exactEndpoint(key, endpoint));
  }
  const detail = create(WorkloadDetailSchema, {
    labels: Object.fromEntries(labels),
    ownerKind: ownerTypes.has(owner.kind) ? "" : owner.kind,
    endpoints,
    hostAddresses: (workload.hostAddresses ?? []).map(wireAddress),
    hbone: workload.tunnel === "hbone" && !tunnels,
  });
  const message = create(WorkloadSchema, {
    uid,
    name: workload.name,
    namespace: workload.namespace,
    addresses,
    tunnelProtocol: workload.tunnel === "hbone" && tunnels ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    node: workload.node,
    clusterId: workload.cluster,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: ownerTypes.get(owner.kind) ?? WorkloadType.POD,
    workloadName: owner.name,
    authorizationPolicies: [...attached],
    status: workload.ready ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    networkMode: hostNetwork ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
    services,
    ...(workload.locality === undefined ? {} : { locality: { ...workload.locality } }),
    extensions: [detailExtension(WorkloadDetailSchema, detail)],
  });
  return named(message, hostNetwork ? [] : workload.addresses);
}

/** An endpoint of a Service that is no pod: known by the Service and its address. */
export function encodeExternalEndpoint(
  cluster: string,
  service: { readonly namespace: string; readonly name: string; readonly key: string },
  address: string,
  endpoints: readonly MemberEndpoint[],
): NamedResource {
  const list = portList(endpoints);
  const exact = sameEndpoints(derivedEndpoints(list, [address]), endpoints)
    ? []
    : endpoints.map((endpoint) => exactEndpoint(service.key, endpoint));
  const message = create(WorkloadSchema, {
    uid: externalEndpointName(cluster, service, address),
    name: service.name,
    namespace: service.namespace,
    addresses: [wireAddress(address)],
    clusterId: cluster,
    services: { [service.key]: list },
    extensions: [detailExtension(WorkloadDetailSchema, create(WorkloadDetailSchema, { endpoints: exact }))],
  });
  return named(message, []);
}

const externalKind = "discovery.k8s.io/EndpointSlice";

export function externalEndpointName(
  cluster: string,
  service: { readonly namespace: string; readonly name: string },
  address: string,
): string {
  return `${cluster}/${externalKind}/${service.namespace}/${service.name}/${address}`;
}

/** How policies find the workloads that they select. */
export type PolicyAttachment = "by-name" | "by-label";

/** Policies that a workload lists by name count only for clients that take policy by name; ours select by label. */
export function decodeWorkload(message: WireWorkload, policies: PolicyAttachment = "by-label"): DecodedWorkload {
  const uid = checkedText(message.uid, "uid") as WorkloadUid;
  const namespace = checkedName(message.namespace, "namespace");
  const detail = detailOf(WorkloadDetailSchema, message.extensions);
  const texts = message.addresses.map((bytes, index) => checkedAddress(bytes, `addresses[${index}]`));
  const memberships = decodeMemberships(message, detail, texts);
  if (uid.includes(`/${externalKind}/`)) return { kind: "external", uid, memberships };
  const name = checkedText(message.name, "name");
  const hostNetwork = message.networkMode === NetworkMode.HOST_NETWORK;
  const hostAddresses = (detail?.hostAddresses ?? []).map((bytes, index) =>
    checkedAddress(bytes, `host_addresses[${index}]`),
  );
  const trustDomain = message.trustDomain || "cluster.local";
  const serviceAccount = message.serviceAccount || "default";
  const owner = {
    kind: detail?.ownerKind || (ownerKinds.get(message.workloadType) ?? "Pod"),
    name: message.workloadName || name,
  };
  const workload: Workload = {
    uid,
    name,
    namespace,
    serviceAccount,
    trustDomain,
    identity: checkedIdentity({ trustDomain, namespace, serviceAccount }),
    node: message.node,
    ...(message.locality === undefined
      ? {}
      : { locality: { region: message.locality.region, zone: message.locality.zone } }),
    cluster: message.clusterId || "Kubernetes",
    addresses: hostNetwork ? [] : texts,
    hostNetwork,
    ...(hostAddresses.length > 0 ? { hostAddresses } : {}),
    labels: new Map(Object.entries(detail?.labels ?? {})),
    owner,
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    tunnel: detail?.hbone === true ? "hbone" : tunnelOf(message.tunnelProtocol),
    ready: message.status === WorkloadStatus.HEALTHY,
    ...(policies === "by-name" && message.authorizationPolicies.length > 0
      ? { attachedPolicies: message.authorizationPolicies }
      : {}),
  };
  return { kind: "workload", workload, memberships };
}

function named(message: WireWorkload, addresses: readonly string[]): NamedResource {
  return {
    name: message.uid,
    aliases: addresses.map((address) => `${message.network}/${address}`),
    bytes: toBinary(AddressSchema, create(AddressSchema, { type: { case: "workload", value: message } })),
  };
}

function tunnelOf(protocol: TunnelProtocol): Workload["tunnel"] {
  if (protocol === TunnelProtocol.NONE) return "none";
  if (protocol === TunnelProtocol.HBONE) return "hbone";
  // Plaintext to something that wants a protocol we don't speak would be worse than no answer.
  throw new InvalidResource(`tunnel_protocol: ${protocol} is neither NONE nor HBONE`);
}

function decodeMemberships(
  message: WireWorkload,
  detail: WorkloadDetail | undefined,
  addresses: readonly string[],
): Memberships {
  const keys = Object.keys(message.services);
  if (keys.length === 0) return noMemberships;
  const exact = new Map<string, MemberEndpoint[]>();
  for (const { service, servicePort, targetPort, address, weight } of detail?.endpoints ?? []) {
    const list = exact.get(service) ?? [];
    exact.set(service, list);
    list.push({
      port: checkedPort(servicePort, "endpoints.service_port"),
      targetPort: checkedPort(targetPort, "endpoints.target_port"),
      address: checkedAddress(address, "endpoints.address"),
      weight,
    });
  }
  const capacity = message.capacity ?? 1;
  return new Map(
    keys.map((key) => {
      if (!/^[^/]+\/[^/]+$/.test(key)) throw new InvalidResource(`services: ${JSON.stringify(key)} is not a Service`);
      const list = message.services[key];
      for (const port of list?.ports ?? []) {
        checkedPort(port.servicePort, "services.service_port");
        checkedPort(port.targetPort, "services.target_port");
      }
      return [key, exact.get(key) ?? derivedEndpoints(list, addresses, capacity)];
    }),
  );
}

function portList(endpoints: readonly MemberEndpoint[]): PortList {
  const ports = new Map(endpoints.map(({ port, targetPort }) => [port, targetPort]));
  return {
    $typeName: "istio.workload.PortList",
    ports: [...ports].map(([servicePort, targetPort]) => ({
      $typeName: "istio.workload.Port",
      servicePort,
      targetPort,
      appProtocol: 0,
    })),
  };
}

/** What a workload's port list says by itself: each port at each address. */
function derivedEndpoints(list: PortList | undefined, addresses: readonly string[], weight = 1): MemberEndpoint[] {
  return (list?.ports ?? []).flatMap(({ servicePort, targetPort }) =>
    addresses.map((address) => ({ port: servicePort, targetPort, address, weight })),
  );
}

function sameEndpoints(one: readonly MemberEndpoint[], other: readonly MemberEndpoint[]): boolean {
  if (one.length !== other.length) return false;
  const texts = new Set(one.map(endpointText));
  return other.every((endpoint) => texts.has(endpointText(endpoint)));
}

function endpointText({ port, targetPort, address, weight }: MemberEndpoint): string {
  return `${port} ${targetPort} ${address} ${weight}`;
}

function exactEndpoint(service: string, endpoint: MemberEndpoint): WorkloadDetail["endpoints"][number] {
  const { port: servicePort, targetPort, weight } = endpoint;
  const $typeName = "warren.mesh.v1.WorkloadDetail.Endpoint";
  return { $typeName, service, servicePort, targetPort, address: wireAddress(endpoint.address), weight };
}

function addressesOf(memberships: Memberships): string[] {
  return [...new Set([...memberships.values()].flat().map(({ address }) => address))].sort();
}

function byKey([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}
