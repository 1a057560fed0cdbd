/** The endpoints of a Service: from its EndpointSlices, or from its selector where no controller has written any. */
import type { ServiceEntry } from "../mesh/mesh-index.ts";
import type { Service, ServiceEndpoint } from "../model/service.ts";
import { podWorkloadUid, type WorkloadUid } from "../model/workload.ts";
import type { SliceEndpoint, SlicePiece } from "./translate/endpoint-slice.ts";
import type { PodPiece } from "./translate/pod.ts";
import type { ServicePiece } from "./translate/service.ts";

interface Candidate {
  readonly endpoint: ServiceEndpoint;
  readonly usable: "ready" | "draining" | "no";
  readonly node: string;
}

/** The pods of a Service's namespace, by name. */
export interface NamespacePods {
  readonly all: ReadonlyMap<string, PodPiece>;
  /** Those that its selector means. */
  readonly selected: ReadonlyMap<string, PodPiece>;
}

export function serviceEntry(
  service: Service,
  piece: ServicePiece,
  slices: readonly SlicePiece[],
  pods: NamespacePods,
  cluster: string,
): ServiceEntry {
  const candidates =
    slices.length > 0 || piece.selector === undefined
      ? fromSlices(service, piece, slices, pods.all, cluster)
      : fromPods(service, piece, pods.selected, cluster);
  const endpoints = new Map<number, readonly ServiceEndpoint[]>();
  // Where clients take those of their own node alone, each node is a choice of its own: ready ones elsewhere are no help to it.
  const byNode = service.traffic?.mode === "strict" && service.traffic.scopes.includes("node");
  for (const { port } of service.ports) {
    const all = candidates.get(port) ?? [];
    const choices = byNode ? [...Map.groupBy(all, ({ node }) => node).values()] : [all];
    endpoints.set(port, withoutDoubles(choices.flatMap(choose)));
  }
  const hinted = slices.flatMap((slice) => slice.endpoints);
  const traffic = service.traffic ?? (hinted.every((endpoint) => endpoint.hinted) ? piece.hintedTraffic : undefined);
  return {
    service: traffic === undefined || hinted.length === 0 ? service : { ...service, traffic },
    endpoints,
    members: membersOf(service, slices, pods, cluster),
  };
}

/** Ready endpoints; while there are none, those that still serve though they terminate (KEP-1669). */
function choose(candidates: readonly Candidate[]): readonly Candidate[] {
  const ready = candidates.filter(({ usable }) => usable === "ready");
  return ready.length > 0 ? ready : candidates.filter(({ usable }) => usable === "draining");
}

/** Slices may overlap. */
function withoutDoubles(candidates: readonly Candidate[]): readonly ServiceEndpoint[] {
  return [
    ...new Map(candidates.map(({ endpoint }) => [`${endpoint.address} ${endpoint.targetPort}`, endpoint])).values(),
  ];
}

function fromSlices(
  service: Service,
  piece: ServicePiece,
  slices: readonly SlicePiece[],
  pods: ReadonlyMap<string, PodPiece>,
  cluster: string,
): Map<number, Candidate[]> {
  const candidates = new Map<number, Candidate[]>();
  for (const { name, port } of service.ports) {
    const list: Candidate[] = [];
    for (const slice of slices) {
      if (!slice.ports.has(name)) continue;
      const targetPort = slice.ports.get(name) ?? port;
      for (const endpoint of slice.endpoints) {
        if (endpoint.pod !== undefined && pods.get(endpoint.pod)?.finished === true) continue;
        list.push({
          endpoint: {
            workload: endpoint.pod === undefined ? undefined : podWorkloadUid(cluster, service.namespace, endpoint.pod),
            address: endpoint.address,
            targetPort,
            weight: 1,
          },
          usable: usableSlice(endpoint, piece.publishNotReadyAddresses),
          node: endpoint.node,
        });
      }
    }
    candidates.set(port, list);
  }
  return candidates;
}

function usableSlice(endpoint: SliceEndpoint, publishNotReady: boolean): Candidate["usable"] {
  if (endpoint.ready || publishNotReady) return "ready";
  return endpoint.serving && endpoint.terminating ? "draining" : "no";
}

function fromPods(
  service: Service,
  piece: ServicePiece,
  pods: ReadonlyMap<string, PodPiece>,
  cluster: string,
): Map<number, Candidate[]> {
  const selected = [...pods.values()].filter((pod) => !pod.finished);
  const candidates = new Map<number, Candidate[]>();
  for (const { port } of service.ports) {
    const target = piece.targetPorts.get(port) ?? port;
    candidates.set(
      port,
      selected.flatMap((pod) => {
        const targetPort = typeof target === "number" ? target : pod.namedPorts.get(target);
        if (targetPort === undefined) return [];
        return pod.addresses.map((address): Candidate => {
          const workload = podWorkloadUid(cluster, pod.namespace, pod.name);
          return {
            endpoint: { workload, address, targetPort, weight: 1 },
            usable: usablePod(pod, piece),
            node: pod.node,
          };
        });
      }),
    );
  }
  return candidates;
}

function usablePod(pod: PodPiece, piece: ServicePiece): Candidate["usable"] {
  if (piece.publishNotReadyAddresses || (pod.ready && !pod.terminating)) return "ready";
  return pod.ready ? "draining" : "no";
}

/** Every pod that the selector or a slice names, or whose address a slice lists; ready or not, it can be reached by its own address. */
function membersOf(
  service: Service,
  slices: readonly SlicePiece[],
  { all, selected }: NamespacePods,
  cluster: string,
): ReadonlySet<WorkloadUid> {
  const members = new Set<WorkloadUid>();
  const add = (name: string): unknown => members.add(podWorkloadUid(cluster, service.namespace, name));
  for (const name of selected.keys()) add(name);
  const listed = new Set<string>();
  for (const { pod, address } of slices.flatMap(({ endpoints }) => endpoints)) {
    if (pod === undefined) listed.add(address);
    else add(pod);
  }
  if (listed.size > 0) {
    for (const pod of all.values()) if (pod.addresses.some((address) => listed.has(address))) add(pod.name);
  }
  return members;
}
