/**
 * Objects of a cluster put together: a pod needs its namespace's labels to be a workload, a Service needs slices and pods to have
 * endpoints. Pieces come in by object, whatever their order; `flush` translates what their arrival touched into one change of the
 * mesh index. It knows nothing of where objects come from.
 */
import { isDeepStrictEqual } from "node:util";
import { type MeshDelta, MeshIndex, type ServiceEntry, serviceKey } from "../mesh/mesh-index.ts";
import type { AuthorizationPolicy } from "../model/authorization.ts";
import type { MeshChange, MeshSettings } from "../model/mesh.ts";
import type { NetworkPolicy } from "../model/network-policy.ts";
import type { PeerAuthentication } from "../model/peer-authentication.ts";
import type { Service } from "../model/service.ts";
import { podWorkloadUid, type WorkloadUid } from "../model/workload.ts";
import { defaultDenyPolicy } from "./default-deny.ts";
import { serviceEntry } from "./service-endpoints.ts";
import { ServiceSelections } from "./service-selections.ts";
import type { SlicePiece } from "./translate/endpoint-slice.ts";
import type { NamespacePiece } from "./translate/namespace.ts";
import type { NodePiece } from "./translate/node.ts";
import { localPodOf, type PodPiece, workloadOf } from "./translate/pod.ts";
import type { ServicePiece } from "./translate/service.ts";

/** A translated object. */
export type Piece =
  | { readonly kind: "Namespace"; readonly value: NamespacePiece }
  | { readonly kind: "Node"; readonly value: NodePiece }
  | { readonly kind: "Pod"; readonly value: PodPiece }
  | { readonly kind: "Service"; readonly value: ServicePiece }
  | { readonly kind: "EndpointSlice"; readonly value: SlicePiece }
  | { readonly kind: "PeerAuthentication"; readonly value: PeerAuthentication }
  | { readonly kind: "AuthorizationPolicy"; readonly value: AuthorizationPolicy }
  | { readonly kind: "NetworkPolicy"; readonly value: NetworkPolicy };

export type PieceKind = Piece["kind"];

/** Pieces of one kind by namespace, then name: what one change touches is found without a scan of the cluster. */
class ByNamespace<T> {
  readonly #namespaces = new Map<string, Map<string, T>>();

  get(namespace: string, name: string): T | undefined {
    return this.#namespaces.get(namespace)?.get(name);
  }

  in(namespace: string): ReadonlyMap<string, T> {
    return this.#namespaces.get(namespace) ?? new Map<string, T>();
  }

  set(namespace: string, name: string, value: T): void {
    const names = this.#namespaces.get(namespace) ?? new Map<string, T>();
    this.#namespaces.set(namespace, names.set(name, value));
  }

  delete(namespace: string, name: string): void {
    const names = this.#namespaces.get(namespace);
    names?.delete(name);
    if (names?.size === 0) this.#namespaces.delete(namespace);
  }

  *namespaces(): Iterable<string> {
    yield* this.#namespaces.keys();
  }
}

/** What changed since the last flush, by `namespace/name`. */
class Touched {
  readonly pods = new Map<string, readonly [string, string]>();
  readonly services = new Map<string, readonly [string, string]>();
  /** Last word on each policy object; undefined: removed. */
  readonly peerAuthentications = new Map<string, PeerAuthentication | undefined>();
  readonly authorizationPolicies = new Map<string, AuthorizationPolicy | undefined>();
  readonly networkPolicies = new Map<string, NetworkPolicy | undefined>();

  pod(namespace: string, name: string): void {
    this.pods.set(`${namespace}/${name}`, [namespace, name]);
  }

  service(namespace: string, name: string): void {
    this.services.set(`${namespace}/${name}`, [namespace, name]);
  }

  get size(): number {
    const { pods, services, peerAuthentications, authorizationPolicies, networkPolicies } = this;
    return pods.size + services.size + peerAuthentications.size + authorizationPolicies.size + networkPolicies.size;
  }

  /** Takes out at most so many, policies before the pods that they are about. */
  take(most: number): Touched {
    const part = new Touched();
    const left = () => most - part.size;
    move(this.peerAuthentications, part.peerAuthentications, left());
    move(this.authorizationPolicies, part.authorizationPolicies, left());
    move(this.networkPolicies, part.networkPolicies, left());
    move(this.pods, part.pods, left());
    move(this.services, part.services, left());
    return part;
  }
}

function move<T>(from: Map<string, T>, to: Map<string, T>, most: number): void {
  if (most <= 0) return;
  for (const [key, value] of from) {
    to.set(key, value);
    from.delete(key);
    if (to.size >= most) return;
  }
}

export class ClusterState {
  readonly index: MeshIndex;
  readonly #namespaces = new Map<string, NamespacePiece>();
  readonly #nodes = new Map<string, NodePiece>();
  readonly #pods = new ByNamespace<PodPiece>();
  readonly #services = new ByNamespace<ServicePiece>();
  readonly #slices = new ByNamespace<SlicePiece>();
  /** By the Service that they are of, then by their own name. */
  readonly #slicesOf = new ByNamespace<Map<string, SlicePiece>>();
  /** Services whose slices list an address without its pod, by that address, then by slice: the pod may come, go or change later. */
  readonly #listing = new ByNamespace<Map<string, string>>();
  readonly #selections = new Map<string, ServiceSelections>();
  readonly #podsOn = new Map<string, Set<PodPiece>>();
  /** UID under which a pod was handed to the index as local pod, by `namespace/name`. */
  readonly #localUids = new Map<string, string>();
  #touched = new Touched();

  constructor(settings: MeshSettings) {
    this.index = new MeshIndex(settings);
  }

  /**
   * `namespace` is empty for cluster-wide kinds. Most versions of an object differ in nothing that the mesh knows of (a condition, a
   * trigger time; after a new list, in nothing at all): those touch nothing.
   */
  set(namespace: string, name: string, piece: Piece): void {
    if (isDeepStrictEqual(this.#known(namespace, name, piece.kind), piece.value)) return;
    switch (piece.kind) {
      case "Namespace":
        this.#namespaces.set(name, piece.value);
        this.#namespaceChanged(name);
        break;
      case "Node":
        this.#nodeChanged(name, piece.value);
        this.#nodes.set(name, piece.value);
        break;
      case "Pod":
        this.#podChanged(namespace, name, piece.value);
        this.#pods.set(namespace, name, piece.value);
        break;
      case "Service":
        this.#services.set(namespace, name, piece.value);
        this.#serviceChanged(namespace, name, piece.value);
        break;
      case "EndpointSlice":
        this.#sliceChanged(namespace, name, piece.value);
        this.#slices.set(namespace, name, piece.value);
        break;
      case "PeerAuthentication":
        this.#touched.peerAuthentications.set(`${namespace}/${name}`, piece.value);
        break;
      case "AuthorizationPolicy":
        this.#touched.authorizationPolicies.set(`${namespace}/${name}`, piece.value);
        break;
      case "NetworkPolicy":
        this.#touched.networkPolicies.set(`${namespace}/${name}`, piece.value);
        break;
    }
  }

  delete(namespace: string, name: string, kind: PieceKind): void {
    switch (kind) {
      case "Namespace":
        this.#namespaces.delete(name);
        this.#namespaceChanged(name);
        break;
      case "Node":
        this.#nodeChanged(name, undefined);
        this.#nodes.delete(name);
        break;
      case "Pod":
        this.#podChanged(namespace, name, undefined);
        this.#pods.delete(namespace, name);
        break;
      case "Service":
        this.#services.delete(namespace, name);
        this.#serviceChanged(namespace, name, undefined);
        break;
      case "EndpointSlice":
        this.#sliceChanged(namespace, name, undefined);
        this.#slices.delete(namespace, name);
        break;
      case "PeerAuthentication":
        this.#touched.peerAuthentications.set(`${namespace}/${name}`, undefined);
        break;
      case "AuthorizationPolicy":
        this.#touched.authorizationPolicies.set(`${namespace}/${name}`, undefined);
        break;
      case "NetworkPolicy":
        this.#touched.networkPolicies.set(`${namespace}/${name}`, undefined);
        break;
    }
  }

  /** Other settings touch every workload: identities and keys hang on them. */
  setSettings(settings: MeshSettings): MeshChange | undefined {
    for (const namespace of this.#pods.namespaces()) this.#namespaceChanged(namespace);
    for (const namespace of this.#services.namespaces()) {
      for (const name of this.#services.in(namespace).keys()) this.#touched.service(namespace, name);
    }
    return this.flush(settings);
  }

  /** Applies everything since the last call as one change. */
  flush(settings: MeshSettings = this.index.settings): MeshChange | undefined {
    const touched = this.#touched;
    this.#touched = new Touched();
    return this.#apply(touched, settings);
  }

  /** As `flush`, of at most so many objects, for a mesh that is too large to be applied in one go; true while there are more. */
  flushPart(most: number): boolean {
    this.#apply(this.#touched.take(most), this.index.settings);
    return this.#touched.size > 0;
  }

  #apply(touched: Touched, settings: MeshSettings): MeshChange | undefined {
    const before = this.index.settings;
    const pods = this.#podDelta(touched, settings, before);
    const services = this.#serviceDelta(touched, settings, before);
    return this.index.apply({
      settings,
      ...pods,
      ...services,
      peerAuthentications: present(touched.peerAuthentications),
      removedPeerAuthentications: absent(touched.peerAuthentications),
      authorizationPolicies: present(touched.authorizationPolicies),
      removedAuthorizationPolicies: absent(touched.authorizationPolicies),
      networkPolicies: present(touched.networkPolicies),
      removedNetworkPolicies: absent(touched.networkPolicies),
    });
  }

  /** What is there; of policies nothing is kept here, the index compares those itself. */
  #known(namespace: string, name: string, kind: PieceKind): Piece["value"] | undefined {
    switch (kind) {
      case "Namespace":
        return this.#namespaces.get(name);
      case "Node":
        return this.#nodes.get(name);
      case "Pod":
        return this.#pods.get(namespace, name);
      case "Service":
        return this.#services.get(namespace, name);
      case "EndpointSlice":
        return this.#slices.get(namespace, name);
      case "PeerAuthentication":
      case "AuthorizationPolicy":
      case "NetworkPolicy":
        return undefined;
    }
  }

  #namespaceChanged(namespace: string): void {
    for (const name of this.#pods.in(namespace).keys()) this.#touched.pod(namespace, name);
    const policy = defaultDenyPolicy(namespace);
    const wanted = this.#namespaces.get(namespace)?.defaultAction === "deny";
    this.#touched.authorizationPolicies.set(`${namespace}/${policy.name}`, wanted ? policy : undefined);
  }

  /** Nodes change all the time (conditions, heartbeats) and move hardly ever: only then are their pods looked for. */
  #nodeChanged(name: string, node: NodePiece | undefined): void {
    const before = this.#nodes.get(name);
    if (before?.zone === node?.zone && before?.region === node?.region) return;
    for (const pod of this.#podsOn.get(name) ?? []) this.#touched.pod(pod.namespace, pod.name);
  }

  #podChanged(namespace: string, name: string, pod: PodPiece | undefined): void {
    this.#touched.pod(namespace, name);
    const before = this.#pods.get(namespace, name);
    if (before !== undefined) {
      const pods = this.#podsOn.get(before.node);
      pods?.delete(before);
      if (pods?.size === 0) this.#podsOn.delete(before.node);
    }
    if (pod !== undefined) this.#podsOn.set(pod.node, (this.#podsOn.get(pod.node) ?? new Set()).add(pod));
    const services = this.#selections.get(namespace)?.podChanged(before, pod) ?? [];
    for (const service of services) this.#touched.service(namespace, service);
    for (const address of [...(before?.addresses ?? []), ...(pod?.addresses ?? [])]) {
      const listing = this.#listing.get(namespace, address)?.values() ?? [];
      for (const service of listing) this.#touched.service(namespace, service);
    }
  }

  #serviceChanged(namespace: string, name: string, piece: ServicePiece | undefined): void {
    this.#touched.service(namespace, name);
    const selections = this.#selections.get(namespace) ?? new ServiceSelections();
    selections.setService(name, piece?.selector, this.#pods.in(namespace).values());
    if (selections.empty) this.#selections.delete(namespace);
    else this.#selections.set(namespace, selections);
  }

  #sliceChanged(namespace: string, name: string, slice: SlicePiece | undefined): void {
    const before = this.#slices.get(namespace, name);
    if (before !== undefined) {
      this.#touched.service(namespace, before.service);
      const slices = this.#slicesOf.get(namespace, before.service);
      if (before.service !== slice?.service) slices?.delete(name);
      if (slices?.size === 0) this.#slicesOf.delete(namespace, before.service);
      for (const address of podless(before)) {
        const listing = this.#listing.get(namespace, address);
        listing?.delete(name);
        if (listing?.size === 0) this.#listing.delete(namespace, address);
      }
    }
    if (slice === undefined) return;
    this.#touched.service(namespace, slice.service);
    const slices = this.#slicesOf.get(namespace, slice.service) ?? new Map<string, SlicePiece>();
    this.#slicesOf.set(namespace, slice.service, slices.set(name, slice));
    for (const address of podless(slice)) {
      const listing = this.#listing.get(namespace, address) ?? new Map<string, string>();
      this.#listing.set(namespace, address, listing.set(name, slice.service));
    }
  }

  #podDelta(touched: Touched, settings: MeshSettings, before: MeshSettings): MeshDelta {
    const workloads = [];
    const removedWorkloads: WorkloadUid[] = [];
    const localPods = [];
    const removedLocalPods = [];
    for (const [key, [namespace, name]] of touched.pods) {
      const pod = this.#pods.get(namespace, name);
      const workload = pod && workloadOf(pod, this.#namespaces.get(namespace), settings, this.#nodes.get(pod.node));
      if (workload !== undefined) workloads.push(workload);
      if (workload === undefined || settings.cluster !== before.cluster) {
        removedWorkloads.push(podWorkloadUid(before.cluster, namespace, name));
      }
      const local = pod && localPodOf(pod, workload);
      const localUid = this.#localUids.get(key);
      if (localUid !== undefined && localUid !== local?.pod.uid) {
        removedLocalPods.push(localUid);
        this.#localUids.delete(key);
      }
      if (local !== undefined) {
        localPods.push(local);
        this.#localUids.set(key, local.pod.uid);
      }
    }
    return { workloads, removedWorkloads, localPods, removedLocalPods };
  }

  #serviceDelta(touched: Touched, settings: MeshSettings, before: MeshSettings): MeshDelta {
    const services: ServiceEntry[] = [];
    const removedServices: string[] = [];
    for (const [namespace, name] of touched.services.values()) {
      const piece = this.#services.get(namespace, name);
      const hostname = (domain: string): string => `${name}.${namespace}.svc.${domain}`;
      if (piece === undefined || settings.clusterDomain !== before.clusterDomain) {
        removedServices.push(serviceKey({ namespace, hostname: hostname(before.clusterDomain) }));
      }
      if (piece === undefined) continue;
      const service: Service = { ...piece.service, hostname: hostname(settings.clusterDomain) };
      const slices = [...(this.#slicesOf.get(namespace, name)?.values() ?? [])];
      const selected = this.#selections.get(namespace)?.selected(name) ?? new Map<string, PodPiece>();
      const pods = { all: this.#pods.in(namespace), selected };
      services.push(serviceEntry(service, piece, slices, pods, settings.cluster));
    }
    return { services, removedServices };
  }
}

/** Addresses of a slice that say no pod. */
function podless({ endpoints }: SlicePiece): string[] {
  return endpoints.flatMap(({ pod, address }) => (pod === undefined ? [address] : []));
}

function present<T>(policies: ReadonlyMap<string, T | undefined>): T[] {
  return [...policies.values()].filter((policy) => policy !== undefined);
}

function absent(policies: ReadonlyMap<string, unknown>): string[] {
  return [...policies].flatMap(([key, policy]) => (policy === undefined ? [key] : []));
}
