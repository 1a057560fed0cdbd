/**
 * The mesh state that deciders read, indexed. Sources (`manifests/`, later `xds/`) translate what they hear into `MeshDelta`s of model
 * objects; `apply` changes the index in place and says what became different. Between two calls of `apply` the view is constant.
 * Lookups on a connection's path (by address, by service port, effective modes, policies) cost a map access, not a scan.
 */
import { isDeepStrictEqual } from "node:util";
import { labelsMatch } from "../lib/labels.ts";
import type { AuthorizationPolicy, AuthorizationRequest, AuthorizationVerdict } from "../model/authorization.ts";
import type { EffectiveMode, MeshChange, MeshSettings, MeshView } from "../model/mesh.ts";
import type { NetworkPolicy } from "../model/network-policy.ts";
import type { PeerAuthentication } from "../model/peer-authentication.ts";
import type { Service, ServiceEndpoint } from "../model/service.ts";
import type { LocalPod, Workload, WorkloadUid } from "../model/workload.ts";
import { AuthorizationIndex, authorizationKey } from "../policy/authorization/authorization-index.ts";
import type { PolicyStore } from "../policy/authorization/policy-store.ts";
import {
  compileModes,
  modeOfPort,
  peerAuthenticationKey,
  takesPart,
  type WorkloadModes,
} from "../policy/peer-authentication.ts";
import { NameTable } from "./name-table.ts";
import type { ServiceEntry } from "./packed-service.ts";
import { ServiceTable, serviceKey } from "./service-table.ts";
import { WorkloadTable } from "./workload-table.ts";

export type { ServiceEntry } from "./packed-service.ts";
export { serviceKey } from "./service-table.ts";

/** A change of state; things set replace their older selves, absent fields change nothing. */
export interface MeshDelta {
  readonly settings?: MeshSettings;
  readonly workloads?: Iterable<Workload>;
  readonly removedWorkloads?: Iterable<WorkloadUid>;
  readonly services?: Iterable<ServiceEntry>;
  /** `namespace/hostname`. */
  readonly removedServices?: Iterable<string>;
  readonly localPods?: Iterable<{ readonly node: string; readonly pod: LocalPod }>;
  /** Pod UIDs. */
  readonly removedLocalPods?: Iterable<string>;
  readonly peerAuthentications?: Iterable<PeerAuthentication>;
  /** `namespace/name`. */
  readonly removedPeerAuthentications?: Iterable<string>;
  readonly authorizationPolicies?: Iterable<AuthorizationPolicy>;
  /** `namespace/name`. */
  readonly removedAuthorizationPolicies?: Iterable<string>;
  /** Given, if only as an empty list, by sources that know of all there are. */
  readonly networkPolicies?: Iterable<NetworkPolicy>;
  /** `namespace/name`. */
  readonly removedNetworkPolicies?: Iterable<string>;
}

/** Collects a `MeshChange` while a delta is applied. */
class ChangeLog {
  settings = false;
  readonly workloads = new Set<WorkloadUid>();
  readonly services = new Set<string>();
  readonly authorizationPolicies = new Set<string>();
  readonly peerAuthentications = new Set<string>();
  readonly networkPolicies = new Set<string>();
  readonly nodes = new Set<string>();
  /** Local pods that the source now says otherwise about whether NetworkPolicies select them. */
  readonly judgedPods = new Set<WorkloadUid>();
  /** Pods that came to or left a Service: policies with a `targetRef` to it follow. */
  readonly members = new Set<WorkloadUid>();
  /** Of every policy that changed, as it was and as it is: whom it selects. */
  readonly selections: ((workload: Workload) => boolean)[] = [];

  /** How many changes there are that may concern any connection. */
  get policies(): number {
    const { authorizationPolicies, peerAuthentications, networkPolicies, judgedPods } = this;
    return authorizationPolicies.size + peerAuthentications.size + networkPolicies.size + judgedPods.size;
  }

  /** What policy says about the workload's traffic may have become different. */
  concerns(workload: Workload): boolean {
    const { uid } = workload;
    if (this.settings || this.networkPolicies.size + this.judgedPods.size > 0) return true;
    if (this.members.has(uid) || this.workloads.has(uid)) return true;
    return this.selections.some((selects) => selects(workload));
  }

  get empty(): boolean {
    return !this.settings && this.policies + this.workloads.size + this.services.size + this.nodes.size === 0;
  }
}

export class MeshIndex implements MeshView {
  #epoch = 0;
  #settings: MeshSettings;
  /** Of workloads and Services; who keeps more about them uses its numbers too. */
  readonly names = new NameTable();
  readonly #workloads = new WorkloadTable(this.names);
  readonly #services = new ServiceTable(this.names);
  readonly #localPods = new Map<string, { node: string; pod: LocalPod }>();
  readonly #nodes = new Map<string, Map<string, LocalPod>>();
  /** By namespace, then name. */
  readonly #peerAuthentications = new Map<string, Map<string, PeerAuthentication>>();
  /** By namespace, then name; undefined until a source told of them, and then anybody may be selected. */
  #networkPolicies: Map<string, Map<string, NetworkPolicy>> | undefined;
  /** Local pods of which the source says itself whether any selects them. */
  readonly #judgedPods = new Map<WorkloadUid, LocalPod>();
  readonly #authorization: AuthorizationIndex;
  readonly #modes = new Map<WorkloadUid, WorkloadModes>();
  readonly #listeners = new Set<(change: MeshChange) => void>();

  /** `policies`: where AuthorizationPolicies are kept; as they came unless something else is given. */
  constructor(settings: MeshSettings, { policies }: { readonly policies?: PolicyStore } = {}) {
    this.#settings = settings;
    const serviceMembers = (namespace: string, name: string) =>
      this.#services.get(`${namespace}/${name}.${namespace}.svc.${this.#settings.clusterDomain}`);
    this.#authorization = new AuthorizationIndex(settings, { serviceMembers }, policies);
  }

  /** All workloads behind a Service, ready or not; they need not be known themselves. */
  members(service: Pick<Service, "namespace" | "hostname">): ReadonlySet<WorkloadUid> {
    return this.#services.get(serviceKey(service))?.members() ?? new Set();
  }

  /** Undefined when the delta changed nothing. Listeners are called before it returns. */
  apply(delta: MeshDelta): MeshChange | undefined {
    const log = new ChangeLog();
    if (delta.settings !== undefined) this.#setSettings(delta.settings, log);
    for (const uid of delta.removedWorkloads ?? []) this.#removeWorkload(uid, log);
    for (const workload of delta.workloads ?? []) this.#setWorkload(workload, log);
    for (const key of delta.removedServices ?? []) this.#removeService(key, log);
    for (const entry of delta.services ?? []) this.#setService(entry, log);
    for (const uid of delta.removedLocalPods ?? []) this.#removeLocalPod(uid, log);
    for (const local of delta.localPods ?? []) this.#setLocalPod(local, log);
    this.#applyPolicies(delta, log);
    if (log.empty) return undefined;
    this.#epoch += 1;
    const change: MeshChange = {
      epoch: this.#epoch,
      settings: log.settings,
      workloads: log.workloads,
      services: log.services,
      authorizationPolicies: log.authorizationPolicies,
      peerAuthentications: log.peerAuthentications,
      networkPolicies: log.networkPolicies,
      nodes: log.nodes,
      policyScope: log.settings || log.policies > 0 ? "all" : new Set([...log.members, ...log.workloads]),
      concerns: (workload) => log.concerns(workload),
    };
    for (const listener of this.#listeners) listener(change);
    return change;
  }

  onChange(listener: (change: MeshChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get epoch(): number {
    return this.#epoch;
  }

  get settings(): MeshSettings {
    return this.#settings;
  }

  workload(uid: WorkloadUid): Workload | undefined {
    return this.#workloads.get(uid);
  }

  workloadByAddress(ip: string): Workload | undefined {
    return this.#workloads.byAddress(ip);
  }

  workloads(): Iterable<Workload> {
    return this.#workloads.values();
  }

  workloadsIn(namespace: string): Iterable<Workload> {
    return this.#workloads.in(namespace);
  }

  serviceByAddress(ip: string): Service | undefined {
    return this.#services.byAddress(ip);
  }

  serviceByHostname(namespace: string, hostname: string): Service | undefined {
    return this.#services.get(`${namespace}/${hostname}`)?.service;
  }

  services(): Iterable<Service> {
    return this.#services.values();
  }

  endpoints(service: Service, port: number): readonly ServiceEndpoint[] | undefined {
    if (!service.ports.some((known) => known.port === port)) return undefined;
    return this.#services.endpoints(serviceKey(service), port) ?? [];
  }

  servicesOf(workload: Workload): Iterable<Service> {
    return this.#services.behind(workload.uid);
  }

  localPods(node: string): Iterable<LocalPod> {
    return this.#nodes.get(node)?.values() ?? [];
  }

  inboundMode(workload: Workload, port: number): EffectiveMode {
    // A workload that is no longer in force (of a flow judged earlier) is compiled afresh, never from or into the cache.
    if (this.#workloads.get(workload.uid) !== workload) return modeOfPort(this.#compileModes(workload), port);
    let modes = this.#modes.get(workload.uid);
    if (modes === undefined) {
      modes = this.#compileModes(workload);
      this.#modes.set(workload.uid, modes);
    }
    return modeOfPort(modes, port);
  }

  authorize(workload: Workload, request: AuthorizationRequest): AuthorizationVerdict {
    return this.#authorization.authorize(workload, request);
  }

  readsHttp(workload: Workload, port: number): boolean {
    return this.#authorization.readsHttp(workload, port);
  }

  authorizationFor(workload: Workload): readonly AuthorizationPolicy[] {
    return this.#authorization.policiesFor(workload);
  }

  authorizationPolicies(): Iterable<AuthorizationPolicy> {
    return this.#authorization.policies();
  }

  /** By `namespace/name`. */
  authorizationPolicy(key: string): AuthorizationPolicy | undefined {
    return this.#authorization.get(key);
  }

  /** Where the source knows of all there are. */
  networkPoliciesOf({ namespace, labels }: Workload): NetworkPolicy[] {
    const policies = this.#networkPolicies?.get(namespace)?.values() ?? [];
    return [...policies].filter(({ matchLabels }) => labelsMatch(matchLabels, labels));
  }

  networkPolicySelects({ uid, namespace, labels }: Workload): boolean {
    if (this.#networkPolicies === undefined) return this.#judgedPods.get(uid)?.networkPolicy !== "none";
    const policies = this.#networkPolicies.get(namespace)?.values() ?? [];
    return [...policies].some(({ matchLabels }) => labelsMatch(matchLabels, labels));
  }

  /** By `namespace/name`. */
  peerAuthentication(key: string): PeerAuthentication | undefined {
    const [namespace = "", name = ""] = key.split("/");
    return this.#peerAuthentications.get(namespace)?.get(name);
  }

  peerAuthenticationsIn(namespace: string): Iterable<PeerAuthentication> {
    return this.#peerAuthentications.get(namespace)?.values() ?? [];
  }

  *peerAuthentications(): Iterable<PeerAuthentication> {
    for (const policies of this.#peerAuthentications.values()) yield* policies.values();
  }

  #compileModes(workload: Workload): WorkloadModes {
    const { rootNamespace } = this.#settings;
    const policies = [...new Set([rootNamespace, workload.namespace])].flatMap((namespace) => [
      ...(this.#peerAuthentications.get(namespace)?.values() ?? []),
    ]);
    return compileModes(policies, workload, rootNamespace);
  }

  #setSettings(settings: MeshSettings, log: ChangeLog): void {
    if (isDeepStrictEqual(settings, this.#settings)) return;
    this.#settings = settings;
    this.#modes.clear();
    this.#authorization.setSettings(settings);
    log.settings = true;
  }

  #setWorkload(workload: Workload, log: ChangeLog): void {
    if (!this.#workloads.set(workload)) return;
    this.#modes.delete(workload.uid);
    log.workloads.add(workload.uid);
  }

  #removeWorkload(uid: WorkloadUid, log: ChangeLog): void {
    if (!this.#workloads.delete(uid)) return;
    this.#modes.delete(uid);
    log.workloads.add(uid);
  }

  #setService(entry: ServiceEntry, log: ChangeLog): void {
    this.#membersMoved(serviceKey(entry.service), this.#services.set(entry), log);
  }

  #removeService(key: string, log: ChangeLog): void {
    this.#membersMoved(key, this.#services.delete(key), log);
  }

  /** `moved` is undefined when the Service is as it was. */
  #membersMoved(key: string, moved: readonly WorkloadUid[] | undefined, log: ChangeLog): void {
    if (moved === undefined) return;
    log.services.add(key);
    for (const uid of moved) log.members.add(uid);
    if (moved.length > 0) this.#authorization.membersChanged();
  }

  #setLocalPod(local: { node: string; pod: LocalPod }, log: ChangeLog): void {
    const before = this.#localPods.get(local.pod.uid);
    if (before !== undefined && isDeepStrictEqual(before, local)) return;
    const judged = this.#judgedPods.get(local.pod.workload)?.networkPolicy;
    if (before !== undefined) this.#removeLocalPod(local.pod.uid, log);
    if (local.pod.networkPolicy !== undefined) this.#judgedPods.set(local.pod.workload, local.pod);
    // Its open local connections may have to go through the tunnel now, and so may those to it.
    if (judged !== local.pod.networkPolicy) log.judgedPods.add(local.pod.workload);
    this.#localPods.set(local.pod.uid, local);
    const pods = this.#nodes.get(local.node) ?? new Map<string, LocalPod>();
    this.#nodes.set(local.node, pods.set(local.pod.uid, local.pod));
    log.nodes.add(local.node);
  }

  #removeLocalPod(uid: string, log: ChangeLog): void {
    const before = this.#localPods.get(uid);
    if (before === undefined) return;
    this.#localPods.delete(uid);
    // A pod that was made anew has the workload's name, and may have come before the old one went.
    if (this.#judgedPods.get(before.pod.workload) === before.pod) this.#judgedPods.delete(before.pod.workload);
    const pods = this.#nodes.get(before.node);
    pods?.delete(uid);
    if (pods?.size === 0) this.#nodes.delete(before.node);
    log.nodes.add(before.node);
  }

  #applyPolicies(delta: MeshDelta, log: ChangeLog): void {
    for (const key of delta.removedPeerAuthentications ?? []) {
      const [namespace = "", name = ""] = key.split("/");
      const policies = this.#peerAuthentications.get(namespace);
      this.#noteModes(policies?.get(name), log);
      if (policies?.delete(name)) log.peerAuthentications.add(key);
      if (policies?.size === 0) this.#peerAuthentications.delete(namespace);
    }
    for (const policy of delta.peerAuthentications ?? []) {
      const policies = this.#peerAuthentications.get(policy.namespace) ?? new Map<string, PeerAuthentication>();
      if (isDeepStrictEqual(policies.get(policy.name), policy)) continue;
      this.#noteModes(policies.get(policy.name), log);
      this.#noteModes(policy, log);
      this.#peerAuthentications.set(policy.namespace, policies.set(policy.name, policy));
      log.peerAuthentications.add(peerAuthenticationKey(policy));
    }
    if (log.peerAuthentications.size > 0) this.#modes.clear();
    for (const key of delta.removedAuthorizationPolicies ?? []) {
      this.#noteRules(this.#authorization.get(key), log);
      if (this.#authorization.remove(key)) log.authorizationPolicies.add(key);
    }
    for (const policy of delta.authorizationPolicies ?? []) {
      const key = authorizationKey(policy);
      if (isDeepStrictEqual(this.#authorization.get(key), policy)) continue;
      this.#noteRules(this.#authorization.get(key), log);
      this.#noteRules(policy, log);
      this.#authorization.set(policy);
      log.authorizationPolicies.add(key);
    }
    this.#applyNetworkPolicies(delta, log);
  }

  #noteModes(policy: PeerAuthentication | undefined, log: ChangeLog): void {
    if (policy === undefined) return;
    const { rootNamespace } = this.#settings;
    log.selections.push((workload) => takesPart(policy, workload, rootNamespace));
  }

  #noteRules(policy: AuthorizationPolicy | undefined, log: ChangeLog): void {
    if (policy !== undefined) log.selections.push((workload) => this.#authorization.selects(policy, workload));
  }

  #applyNetworkPolicies(delta: MeshDelta, log: ChangeLog): void {
    for (const key of delta.removedNetworkPolicies ?? []) {
      const [namespace = "", name = ""] = key.split("/");
      const policies = this.#networkPolicies?.get(namespace);
      if (policies?.delete(name)) log.networkPolicies.add(key);
      if (policies?.size === 0) this.#networkPolicies?.delete(namespace);
    }
    if (delta.networkPolicies === undefined) return;
    this.#networkPolicies ??= new Map();
    for (const policy of delta.networkPolicies) {
      const policies = this.#networkPolicies.get(policy.namespace) ?? new Map<string, NetworkPolicy>();
      if (isDeepStrictEqual(policies.get(policy.name), policy)) continue;
      this.#networkPolicies.set(policy.namespace, policies.set(policy.name, policy));
      log.networkPolicies.add(`${policy.namespace}/${policy.name}`);
    }
  }
}
