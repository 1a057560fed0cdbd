/**
 * Makes the mesh out of resources. Endpoints come with workloads and belong to Services that may come later or have gone already, so
 * they are kept by Service and a Service is put together when it is there. What is staged takes effect with the next delta.
 */
import type { MeshDelta, ServiceEntry } from "../../mesh/mesh-index.ts";
import { serviceKey } from "../../mesh/mesh-index.ts";
import type { NameTable } from "../../mesh/name-table.ts";
import type { AuthorizationPolicy } from "../../model/authorization.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import type { PeerAuthentication } from "../../model/peer-authentication.ts";
import type { Service, ServiceEndpoint } from "../../model/service.ts";
import type { LocalPod, Workload, WorkloadUid } from "../../model/workload.ts";
import { type DecodedAddress, decodeAddress } from "../resources/address.ts";
import { closedAuthorization, decodeAuthorization } from "../resources/authorization-decoder.ts";
import { decodeLocalPod } from "../resources/local-pod.ts";
import { closedPolicy, type DecodedPolicy, decodePolicy, parsePolicyName } from "../resources/policy.ts";
import { InvalidResource } from "../resources/resource-types.ts";
import { decodeSettings } from "../resources/settings.ts";
import { type Memberships, noMemberships } from "../resources/workload.ts";
import { type Member, MembershipTable } from "./membership-table.ts";

/** Whose types an agent takes: our control plane's, or istiod's. Istio tells of no local pods, and settings are the agent's own then. */
export type Dialect = "warren" | "istio";

export type AgentType = "settings" | "policy" | "authorization" | "address" | "localPod";

/** What is asked for, in this order. */
export const agentTypes: Readonly<Record<Dialect, readonly AgentType[]>> = {
  warren: ["settings", "policy", "address", "localPod"],
  istio: ["authorization", "address"],
};

export type Decoded =
  | { readonly type: "settings"; readonly value: MeshSettings }
  | { readonly type: "policy"; readonly value: DecodedPolicy }
  | { readonly type: "authorization"; readonly value: AuthorizationPolicy; readonly bytes: Uint8Array }
  | { readonly type: "address"; readonly value: DecodedAddress; readonly bytes: Uint8Array }
  | { readonly type: "localPod"; readonly value: LocalPod | undefined };

/** Pure; throws for what cannot be right. */
export function decodeResource(dialect: Dialect, type: AgentType, name: string, bytes: Uint8Array): Decoded {
  switch (type) {
    case "settings":
      return { type, value: decodeSettings(name, bytes) };
    case "policy":
      return { type, value: decodePolicy(name, bytes) };
    case "authorization":
      return { type, value: decodeAuthorization(name, bytes), bytes };
    case "address":
      // Istio's policies reach a workload because it names them, ours because of its labels.
      return { type, value: decodeAddress(name, bytes, dialect === "istio" ? "by-name" : "by-label"), bytes };
    case "localPod":
      return { type, value: decodeLocalPod(name, bytes) };
  }
}

interface KnownService {
  readonly service: Service;
  readonly onlyHealthy: boolean;
}

/** What takes effect at once, together; a larger change does in parts, workloads before Services. */
const largestDelta = 250;
/** A Service weighs as much as this many workloads: it is put together from all of its endpoints, some thirty on average. */
const serviceWeight = 10;
/** Weight of a part: a millisecond or two. */
const partWeight = 100;

export class MeshAssembler {
  readonly node: string;
  readonly #members: MembershipTable;
  /** As they came: endpoints that are no workloads. */
  readonly #external = new Map<string, Uint8Array>();
  readonly #services = new Map<string, KnownService>();
  /** Resource names of policies in force. */
  readonly #policies = new Set<string>();
  /** Istio's policies as they came: our model of them cannot be turned back word for word. */
  readonly #authorizations = new Map<string, Uint8Array>();
  #staged = new Staged();

  constructor(node: string, names: NameTable) {
    this.node = node;
    this.#members = new MembershipTable(names);
  }

  memberships(uid: string): Memberships {
    return this.#members.get(uid)?.memberships ?? noMemberships;
  }

  /** Endpoints that are no workloads, as they came. */
  external(): Iterable<readonly [string, Uint8Array]> {
    return this.#external;
  }

  authorizations(): Iterable<readonly [string, Uint8Array]> {
    return this.#authorizations;
  }

  stage(name: string, decoded: Decoded): void {
    switch (decoded.type) {
      case "settings":
        this.#staged.settings = decoded.value;
        return;
      case "policy":
        this.#policies.add(name);
        this.#staged.policies.set(name, decoded.value);
        return;
      case "authorization":
        this.#policies.add(name);
        this.#authorizations.set(name, decoded.bytes);
        this.#staged.policies.set(authorizationName(name), { kind: "AuthorizationPolicy", policy: decoded.value });
        return;
      case "localPod":
        this.#staged.localPods.set(name, decoded.value);
        return;
      case "address":
        this.#stageAddress(name, decoded.value, decoded.bytes);
    }
  }

  /** A policy that was never good must not be one that isn't there: it refuses until it can be read. True when it does. */
  stageRejected(type: AgentType, name: string, problem: string): boolean {
    if (this.#policies.has(name)) return false;
    if (type === "authorization") {
      const policy = closedAuthorization(name, problem);
      this.#staged.policies.set(authorizationName(name), { kind: "AuthorizationPolicy", policy });
      return true;
    }
    const closed = type === "policy" ? closedPolicy(name, problem) : undefined;
    if (closed === undefined) return false;
    this.stage(name, { type: "policy", value: closed });
    return true;
  }

  remove(type: AgentType, name: string): void {
    switch (type) {
      case "settings":
        // There is always one; without it the last one holds.
        return;
      case "policy":
        this.#policies.delete(name);
        this.#staged.policies.set(name, undefined);
        return;
      case "authorization":
        this.#policies.delete(name);
        this.#authorizations.delete(name);
        this.#staged.policies.set(authorizationName(name), undefined);
        return;
      case "localPod":
        this.#staged.localPods.set(name, undefined);
        return;
      case "address":
        if (this.#members.has(name)) {
          this.#external.delete(name);
          this.#setMember(name, undefined);
          this.#staged.workloads.set(name, undefined);
        } else if (this.#services.delete(name)) {
          this.#staged.services.add(name);
        }
    }
  }

  /** What was staged. Small changes are one delta, so that they take effect at once and together. */
  *deltas(): Iterable<MeshDelta> {
    const staged = this.#staged;
    this.#staged = new Staged();
    const local = this.#localPodDelta(staged.localPods);
    const settings = staged.settings === undefined ? {} : { settings: staged.settings };
    if (staged.policies.size + staged.workloads.size + staged.services.size * serviceWeight <= largestDelta) {
      const { policies, workloads, services } = staged;
      yield {
        ...settings,
        ...local,
        ...policyDelta([...policies]),
        ...workloadDelta([...workloads]),
        ...this.#serviceDelta([...services]),
      };
      return;
    }
    yield settings;
    // What forbids comes first and what goes goes last, so that nothing in between allows more than before or after.
    for (const part of parts([...staged.policies].sort(byStrictness), partWeight)) yield policyDelta(part);
    for (const part of parts(staged.workloads, partWeight)) yield workloadDelta(part);
    for (const part of parts(staged.services, partWeight / serviceWeight)) yield this.#serviceDelta(part);
    yield local;
  }

  /** What was staged of workloads alone; Services follow with `deltas`. */
  *workloadDeltas(): Iterable<MeshDelta> {
    const { workloads } = this.#staged;
    if (workloads.size > 0) yield workloadDelta([...workloads]);
    workloads.clear();
  }

  #stageAddress(name: string, value: DecodedAddress, bytes: Uint8Array): void {
    switch (value.kind) {
      case "service":
        if (serviceKey(value.service) !== name) throw new InvalidResource(`${name} is another Service's name`);
        this.#services.set(name, value);
        this.#staged.services.add(name);
        return;
      case "external":
        // It may have been a pod's name before.
        this.#staged.workloads.set(name, undefined);
        this.#external.set(name, bytes);
        this.#setMember(name, { ...value, external: true });
        return;
      case "workload":
        this.#staged.workloads.set(name, value.workload);
        this.#external.delete(name);
        this.#setMember(name, { ...value, external: false });
    }
  }

  #setMember(uid: string, now: Member | undefined): void {
    for (const service of this.#members.set(uid, now)) this.#staged.services.add(service);
  }

  #localPodDelta(staged: ReadonlyMap<string, LocalPod | undefined>): MeshDelta {
    const { node } = this;
    return {
      localPods: [...staged.values()].flatMap((pod) => (pod === undefined ? [] : [{ node, pod }])),
      removedLocalPods: absent(staged),
    };
  }

  #serviceDelta(keys: readonly string[]): MeshDelta {
    const services: ServiceEntry[] = [];
    const removedServices: string[] = [];
    for (const key of keys) {
      const known = this.#services.get(key);
      if (known === undefined) removedServices.push(key);
      else services.push(this.#entry(key, known));
    }
    return { services, removedServices };
  }

  #entry(key: string, { service, onlyHealthy }: KnownService): ServiceEntry {
    const endpoints = new Map<number, ServiceEndpoint[]>(service.ports.map(({ port }) => [port, []]));
    const members = new Set<WorkloadUid>();
    for (const [uid, list, { external, healthy }] of this.#members.behind(key)) {
      const workload = external ? undefined : (uid as WorkloadUid);
      if (workload !== undefined) members.add(workload);
      if (onlyHealthy && !healthy) continue;
      for (const { port, targetPort, address, weight } of list) {
        endpoints.get(port)?.push({ workload, address, targetPort, weight });
      }
    }
    return { service, endpoints, members };
  }
}

/** Istio's policies are named without their kind. */
function authorizationName(name: string): string {
  return `AuthorizationPolicy/${name}`;
}

class Staged {
  settings: MeshSettings | undefined;
  readonly workloads = new Map<string, Workload | undefined>();
  readonly services = new Set<string>();
  readonly policies = new Map<string, DecodedPolicy | undefined>();
  readonly localPods = new Map<string, LocalPod | undefined>();
}

function workloadDelta(staged: readonly (readonly [string, Workload | undefined])[]): MeshDelta {
  return {
    workloads: staged.flatMap(([, workload]) => workload ?? []),
    removedWorkloads: staged.flatMap(([uid, workload]) => (workload === undefined ? [uid as WorkloadUid] : [])),
  };
}

type StagedPolicy = readonly [name: string, policy: DecodedPolicy | undefined];

function byStrictness([, one]: StagedPolicy, [, other]: StagedPolicy): number {
  return rank(one) - rank(other);
}

function rank(decoded: DecodedPolicy | undefined): number {
  if (decoded === undefined) return 2;
  return decoded.kind === "AuthorizationPolicy" && decoded.policy.action === "ALLOW" ? 1 : 0;
}

function policyDelta(staged: readonly StagedPolicy[]): MeshDelta {
  const authorizationPolicies: AuthorizationPolicy[] = [];
  const peerAuthentications: PeerAuthentication[] = [];
  for (const [, decoded] of staged) {
    if (decoded?.kind === "AuthorizationPolicy") authorizationPolicies.push(decoded.policy);
    if (decoded?.kind === "PeerAuthentication") peerAuthentications.push(decoded.policy);
  }
  const gone = absent(new Map(staged));
  const removed = (kind: DecodedPolicy["kind"]) =>
    gone.flatMap((name) => {
      const parsed = parsePolicyName(name);
      return parsed?.kind === kind ? [`${parsed.namespace}/${parsed.name}`] : [];
    });
  return {
    authorizationPolicies,
    peerAuthentications,
    removedAuthorizationPolicies: removed("AuthorizationPolicy"),
    removedPeerAuthentications: removed("PeerAuthentication"),
  };
}

function absent(staged: ReadonlyMap<string, unknown>): string[] {
  return [...staged].flatMap(([name, value]) => (value === undefined ? [name] : []));
}

function* parts<T>(all: Iterable<T>, most: number): Iterable<T[]> {
  let part: T[] = [];
  for (const one of all) {
    part.push(one);
    if (part.length < most) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}
