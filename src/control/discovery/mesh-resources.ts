/**
 * Keeps the resource store equal to the mesh: each change of the view touches the resources that depend on it, and after a short quiet
 * they are encoded anew. A workload's resource holds its endpoints and the names of the policies that select it, so changes of
 * Services and of selecting policies come back to workloads.
 */
import type { Clock } from "../../lib/clock.ts";
import { Slices } from "../../lib/slices.ts";
import { type MeshIndex, serviceKey } from "../../mesh/mesh-index.ts";
import type { MeshChange, MeshSettings } from "../../model/mesh.ts";
import type { Service } from "../../model/service.ts";
import type { Workload, WorkloadUid } from "../../model/workload.ts";
import { authorizationKey } from "../../policy/authorization/authorization-index.ts";
import { peerAuthenticationKey } from "../../policy/peer-authentication.ts";
import { encodeAuthorization, encodeSettingsPolicies, isSelector } from "../../xds/resources/authorization.ts";
import { encodeLocalPod } from "../../xds/resources/local-pod.ts";
import { encodeAuthorizationPolicy, encodePeerAuthentication } from "../../xds/resources/policy.ts";
import type { NamedResource, ResourceType } from "../../xds/resources/resource-types.ts";
import { encodeService } from "../../xds/resources/service.ts";
import { encodeSettings } from "../../xds/resources/settings.ts";
import { encodePlaintextRefusal, plaintextPolicyName, plaintextRefusal } from "../../xds/resources/strict-plaintext.ts";
import { encodeWorkload } from "../../xds/resources/workload.ts";
import { Dirty } from "./dirty.ts";
import { addSelected, PolicySelections, type Selector } from "./policy-selections.ts";
import type { ResourceStore } from "./resource-store.ts";
import { type ServiceMembers, ServiceMemberships } from "./service-memberships.ts";

export interface MeshResourcesDeps {
  readonly source: {
    readonly view: MeshIndex;
    onChange(listener: (change: MeshChange) => void): () => void;
  };
  /** What the authority adds to the settings of the source, and when that has changed. */
  readonly authority: {
    addTo(settings: MeshSettings): MeshSettings;
    onChange(listener: () => void): () => void;
  };
  readonly store: ResourceStore;
  readonly clock: Clock;
}

export interface MeshResourcesOptions {
  /** Changes are gathered this long after the first of them, milliseconds. */
  readonly debounceMs: number;
}

export class MeshResources {
  readonly #deps: MeshResourcesDeps;
  readonly #options: MeshResourcesOptions;
  readonly #memberships = new ServiceMemberships();
  /** Of AuthorizationPolicies that workloads name in their resources. */
  readonly #selectors = new PolicySelections();
  /** Of PeerAuthentications, which decide on the refusals that workloads name. */
  readonly #modes = new PolicySelections();
  /** Workloads that some NetworkPolicy selects: their node is told. */
  readonly #selected = new Set<WorkloadUid>();
  /** Names of the local pods that each node was told of. */
  readonly #podsOf = new Map<string, ReadonlySet<string>>();
  #updating: Promise<void> = Promise.resolve();
  #settingsPolicies: readonly string[] = [];
  #dirty = new Dirty();
  #cancel: (() => void) | undefined;
  #unsubscribe: (() => void)[] = [];

  constructor(deps: MeshResourcesDeps, options: MeshResourcesOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Call when the source has its first state; the store is complete when it resolves. */
  async start(): Promise<void> {
    if (this.#unsubscribe.length > 0) return;
    const { source, authority } = this.#deps;
    const update = () => {
      this.#cancel ??= this.#deps.clock.after(this.#options.debounceMs, () => {
        this.#cancel = undefined;
        this.#updating = this.#updating.then(() => this.#update());
      });
    };
    this.#unsubscribe = [
      source.onChange((change) => {
        this.#dirty.add(change);
        update();
      }),
      authority.onChange(() => {
        this.#dirty.settings = true;
        update();
      }),
    ];
    const { view } = this.#deps.source;
    this.#dirty.everything = true;
    for (const workload of view.workloads()) {
      this.#dirty.workloads.add(workload.uid);
      this.#dirty.nodes.add(workload.node);
    }
    for (const service of view.services()) this.#dirty.services.add(serviceKey(service));
    this.#updating = this.#update();
    await this.#updating;
  }

  stop(): void {
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /**
   * A whole mesh is encoded in slices, and what changes meanwhile is the next update's. Streams hear of it when all of it is there: a
   * workload is never told before the policies that it names.
   */
  async #update(): Promise<void> {
    const slices = new Slices();
    const dirty = this.#dirty;
    this.#dirty = new Dirty();
    const { source, store } = this.#deps;
    const { view } = source;
    if (dirty.everything || dirty.settings) this.#updateSettings(view);
    const services = await this.#updateServices(view, dirty, slices);
    await this.#updatePolicies(view, dirty, slices);
    await this.#updateWorkloads(view, dirty, slices);
    await this.#findSelected(view, dirty, slices);
    // After the workloads: in the order of the store a Service comes when its endpoints are there.
    for (const [key, service] of services) {
      if (service === undefined) store.delete("address", key);
      else store.set("address", encodeService(service));
      if (slices.due) await slices.rest();
    }
    for (const node of dirty.nodes) {
      this.#updateNode(view, node);
      if (slices.due) await slices.rest();
    }
    store.flush();
  }

  #updateNode(view: MeshIndex, node: string): void {
    const { store } = this.#deps;
    const names = new Set<string>();
    for (const pod of view.localPods(node)) {
      const networkPolicy = this.#selected.has(pod.workload) ? "selected" : "none";
      store.set("localPod", encodeLocalPod({ ...pod, networkPolicy }), node);
      names.add(pod.uid);
    }
    for (const name of this.#podsOf.get(node) ?? []) {
      // It may be another node's by now.
      if (!names.has(name) && store.get("localPod", name)?.node === node) store.delete("localPod", name);
    }
    if (names.size === 0) this.#podsOf.delete(node);
    else this.#podsOf.set(node, names);
  }

  #updateSettings(view: MeshIndex): void {
    const { store, authority } = this.#deps;
    const settings = authority.addTo(view.settings);
    store.set("settings", encodeSettings(settings));
    const policies = encodeSettingsPolicies(settings);
    const names = policies.map(({ name }) => name);
    for (const gone of this.#settingsPolicies) if (!names.includes(gone)) store.delete("authorization", gone);
    for (const policy of policies) store.set("authorization", policy);
    this.#settingsPolicies = names;
  }

  async #updateServices(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<Map<string, Service | undefined>> {
    const { store } = this.#deps;
    const changed = new Map<string, Service | undefined>();
    for (const key of dirty.services) {
      const slash = key.indexOf("/");
      const service = view.serviceByHostname(key.slice(0, slash), key.slice(slash + 1));
      changed.set(key, service);
      const members: ServiceMembers | undefined = service && { service, key, view };
      const { workloads, external, gone } = this.#memberships.update(key, members);
      for (const uid of workloads) dirty.workloads.add(uid);
      for (const name of gone) store.delete("address", name);
      for (const endpoint of external) store.set("address", endpoint);
      if (slices.due) await slices.rest();
    }
    return changed;
  }

  /**
   * A policy's rules are in its own resource. Workloads hold names of policies, so they are looked at when a policy comes to select them
   * or ceases to: when only what it says is new, none is.
   */
  async #updatePolicies(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<void> {
    const { authorizationPolicies, peerAuthentications, everything } = dirty;
    if (everything) {
      for (const policy of view.authorizationPolicies()) authorizationPolicies.add(authorizationKey(policy));
      for (const policy of view.peerAuthentications()) peerAuthentications.add(peerAuthenticationKey(policy));
      for (const { uid } of view.workloads()) dirty.workloads.add(uid);
    }
    const touched: Selector[] = [];
    for (const key of authorizationPolicies) {
      const policy = view.authorizationPolicy(key);
      const encoded = policy && encodeAuthorization(policy, view.settings);
      this.#put("policy", `AuthorizationPolicy/${key}`, policy && encodeAuthorizationPolicy(policy));
      this.#put("authorization", key, encoded);
      const names = policy !== undefined && encoded !== undefined && isSelector(policy);
      touched.push(...this.#selectors.move(key, names ? policy : undefined));
      if (slices.due) await slices.rest();
    }
    for (const key of peerAuthentications) {
      const policy = view.peerAuthentication(key);
      this.#put("policy", `PeerAuthentication/${key}`, policy && encodePeerAuthentication(policy));
      touched.push(...this.#modes.replace(key, policy));
      if (slices.due) await slices.rest();
    }
    if (everything) return;
    await addSelected(touched, view, dirty.workloads, slices);
  }

  async #updateWorkloads(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<void> {
    const { store } = this.#deps;
    const portsByNamespace = new NamedPorts(view);
    for (const uid of dirty.workloads) {
      if (slices.due) await slices.rest();
      const workload = view.workload(uid);
      if (workload === undefined) {
        store.delete("address", uid);
        continue;
      }
      const attached = this.#attachedTo(workload, view, portsByNamespace);
      store.set("address", encodeWorkload(workload, this.#memberships.of(workload.uid), attached));
    }
  }

  /** Agents are told no NetworkPolicies, only whom of their pods any selects. */
  async #findSelected(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<void> {
    const namespaces = new Set([...dirty.networkPolicies].map((key) => key.slice(0, key.indexOf("/"))));
    const touched = new Set(dirty.workloads);
    for (const namespace of namespaces) {
      for (const { uid } of view.workloadsIn(namespace)) {
        touched.add(uid);
        if (slices.due) await slices.rest();
      }
    }
    for (const uid of touched) {
      if (slices.due) await slices.rest();
      const workload = view.workload(uid);
      const selected = workload !== undefined && view.networkPolicySelects(workload);
      if (selected === this.#selected.has(uid)) continue;
      if (selected) this.#selected.add(uid);
      else this.#selected.delete(uid);
      if (workload !== undefined) dirty.nodes.add(workload.node);
    }
  }

  /** Names of the Istio policies that hold for this workload because it says so. */
  #attachedTo(workload: Workload, view: MeshIndex, ports: NamedPorts): string[] {
    const { store } = this.#deps;
    const { rootNamespace } = view.settings;
    const names = view
      .authorizationFor(workload)
      .map(authorizationKey)
      .filter((key) => this.#selectors.has(key));
    const refusal = plaintextRefusal(view, workload, ports.in(workload.namespace));
    if (refusal === undefined) return names;
    const name = `${rootNamespace}/${plaintextPolicyName(refusal)}`;
    if (store.get("authorization", name) === undefined) {
      store.set("authorization", encodePlaintextRefusal(refusal, rootNamespace));
    }
    return [...names, name];
  }

  #put(type: ResourceType, name: string, resource: NamedResource | undefined): void {
    if (resource === undefined) this.#deps.store.delete(type, name);
    else this.#deps.store.set(type, resource);
  }
}

/** Ports that PeerAuthentications of a namespace name, read once in an update for each namespace that it comes to. */
class NamedPorts {
  readonly #view: MeshIndex;
  readonly #ports = new Map<string, ReadonlySet<number>>();

  constructor(view: MeshIndex) {
    this.#view = view;
  }

  in(namespace: string): ReadonlySet<number> {
    const known = this.#ports.get(namespace);
    if (known !== undefined) return known;
    const ports = new Set<number>();
    for (const { portModes } of this.#view.peerAuthenticationsIn(namespace)) {
      for (const port of portModes.keys()) ports.add(port);
    }
    this.#ports.set(namespace, ports);
    return ports;
  }
}
