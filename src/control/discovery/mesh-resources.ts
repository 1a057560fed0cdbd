/**
 * Keeps the resource store equal to the mesh: each change of the view touches the resources that depend on it, and after a short quiet
 * they are encoded anew. A workload's resource holds its endpoints and the names of the policies that select it, so changes of
 * Services and of selecting policies come back to workloads. Policies go first: what they say is told before the workloads of the same
 * change are looked at, and when it changes during a long update, between two slices of that.
 */
import { backoffDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { Slices } from "../../lib/slices.ts";
import { type MeshIndex, serviceKey } from "../../mesh/mesh-index.ts";
import type { MeshChange, MeshSettings } from "../../model/mesh.ts";
import type { Service } from "../../model/service.ts";
import type { Workload } from "../../model/workload.ts";
import { authorizationKey } from "../../policy/authorization/authorization-index.ts";
import { peerAuthenticationKey } from "../../policy/peer-authentication.ts";
import { encodeAuthorization, encodeSettingsPolicies, isSelector } from "../../xds/resources/authorization.ts";
import { encodeAuthorizationPolicy, encodePeerAuthentication } from "../../xds/resources/policy.ts";
import { encodeService } from "../../xds/resources/service.ts";
import { encodeSettings, settingsName } from "../../xds/resources/settings.ts";
import {
  encodePlaintextRefusal,
  plaintextPolicyName,
  plaintextRefusal,
  takesTunnels,
} from "../../xds/resources/strict-plaintext.ts";
import { encodeExternalEndpoint, encodeWorkload } from "../../xds/resources/workload.ts";
import { Dirty } from "./dirty.ts";
import { LocalPods } from "./local-pods.ts";
import { NamespaceModes } from "./namespace-modes.ts";
import { addSelected, PolicySelections, type Selector } from "./policy-selections.ts";
import { ResourceEncoder, type Untold } from "./resource-encoder.ts";
import type { ResourceStore } from "./resource-store.ts";
import { membershipsOf, type ServiceMembers, ServiceMemberships } from "./service-memberships.ts";

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
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

export interface MeshResourcesOptions {
  /** Changes are gathered this long after the first of them, milliseconds. */
  readonly debounceMs: number;
}

const ruleTypes = ["settings", "policy", "authorization"] as const;

/** After an update that failed for no object's sake. */
const backoff = { firstMs: 1000, factor: 2, longestMs: 60_000, jitter: 0.2 } as const;

export class MeshResources {
  readonly #deps: MeshResourcesDeps;
  readonly #options: MeshResourcesOptions;
  readonly #encoder: ResourceEncoder;
  readonly #memberships = new ServiceMemberships();
  /** Of AuthorizationPolicies that workloads name in their resources. */
  readonly #selectors = new PolicySelections();
  /** Of PeerAuthentications, which decide on the refusals that workloads name. */
  readonly #modes = new PolicySelections();
  readonly #localPods: LocalPods;
  #updating: Promise<void> = Promise.resolve();
  #settingsPolicies: readonly string[] = [];
  #dirty = new Dirty();
  /** The first state is there. */
  #complete = false;
  #failures = 0;
  #cancel: (() => void) | undefined;
  #unsubscribe: (() => void)[] = [];

  constructor(deps: MeshResourcesDeps, options: MeshResourcesOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#encoder = new ResourceEncoder(deps);
    deps.store.relate("address", this.#memberships);
    const { view } = deps.source;
    this.#localPods = new LocalPods({ view, store: deps.store, encoder: this.#encoder });
  }

  /** What of the mesh clients cannot be told. */
  get untold(): readonly Untold[] {
    return this.#encoder.untold;
  }

  /** Call when the source has its first state; the store is complete when it resolves. */
  async start(): Promise<void> {
    if (this.#unsubscribe.length > 0) return;
    const { source, authority } = this.#deps;
    this.#unsubscribe = [
      source.onChange((change) => {
        this.#dirty.add(change);
        this.#schedule(this.#options.debounceMs);
      }),
      authority.onChange(() => {
        this.#dirty.settings = true;
        this.#schedule(this.#options.debounceMs);
      }),
    ];
    this.#dirty.everything = true;
    const first = this.#update();
    // Changes that come meanwhile are the next update's, whatever becomes of this one.
    this.#updating = first.catch(() => {});
    await first;
    this.#complete = true;
  }

  stop(): void {
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe();
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(afterMs: number): void {
    this.#cancel ??= this.#deps.clock.after(afterMs, () => {
      this.#cancel = undefined;
      this.#updating = this.#updating.then(() => this.#tryUpdate());
    });
  }

  /** Objects that cannot be told are the encoder's; should anything else go wrong, all of the mesh is looked at again. */
  async #tryUpdate(): Promise<void> {
    try {
      await this.#update();
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      this.#deps.log.error({ error }, `the mesh cannot be told to clients, trying again: ${messageOf(error)}`);
      this.#dirty.everything = true;
      if (this.#unsubscribe.length > 0) this.#schedule(backoffDelay(this.#failures, backoff, Math.random()));
    }
  }

  async #update(): Promise<void> {
    const dirty = this.#dirty;
    this.#dirty = new Dirty();
    try {
      await this.#updateFrom(dirty);
    } catch (error) {
      this.#dirty.addAgain(dirty);
      throw error;
    }
  }

  /** A whole mesh is encoded in slices, and what changes meanwhile is the next update's, but for what policies say. */
  async #updateFrom(dirty: Dirty): Promise<void> {
    const slices = new Slices();
    const { source, store } = this.#deps;
    const { view } = source;
    if (dirty.everything) await addEverything(view, dirty, slices);
    await this.#updateRules(view, dirty, slices);
    // All are looked at anyway where everything is.
    if (!dirty.everything) await addSelected(dirty.selectors, view, dirty.workloads, slices);
    const services = await this.#updateServices(view, dirty, slices);
    await this.#updateWorkloads(view, dirty, slices);
    // After the workloads: in the order of the store a Service comes when its endpoints are there.
    for (const [key, service] of services) {
      if (service === undefined) this.#encoder.drop("address", key);
      else this.#encoder.put("address", key, () => encodeService(service));
      if (slices.due) await this.#rest(slices);
    }
    await this.#localPods.update(dirty, () => (slices.due ? this.#rest(slices) : undefined));
    store.flush();
  }

  /** Lets others run. What policies say meanwhile waits for nobody's endpoints. */
  async #rest(slices: Slices): Promise<void> {
    await slices.rest();
    if (!this.#complete || !this.#dirty.rules || this.#dirty.everything) return;
    await this.#updateRules(this.#deps.source.view, this.#dirty, slices);
  }

  /**
   * Settings and what policies say, told at once. Workloads hold names of policies, so they are looked at when a policy comes to select
   * them or ceases to: when only what it says is new, none is.
   */
  async #updateRules(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<void> {
    const { authorizationPolicies, peerAuthentications, selectors } = dirty;
    if (dirty.settings) this.#updateSettings(view);
    dirty.settings = false;
    for (const key of authorizationPolicies) {
      selectors.push(...this.#updateAuthorizationPolicy(view, key));
      authorizationPolicies.delete(key);
      if (slices.due) await slices.rest();
    }
    for (const key of peerAuthentications) {
      const policy = view.peerAuthentication(key);
      if (policy === undefined) this.#encoder.drop("policy", `PeerAuthentication/${key}`);
      else this.#encoder.putPolicy("PeerAuthentication", key, () => encodePeerAuthentication(policy));
      selectors.push(...this.#modes.replace(key, policy));
      peerAuthentications.delete(key);
      if (slices.due) await slices.rest();
    }
    if (this.#complete) this.#deps.store.flush(ruleTypes);
  }

  /** Whom it selected or selects now, if those differ. */
  #updateAuthorizationPolicy(view: MeshIndex, key: string): readonly Selector[] {
    const policy = view.authorizationPolicy(key);
    if (policy === undefined) {
      this.#encoder.drop("policy", `AuthorizationPolicy/${key}`);
      this.#encoder.drop("authorization", key);
      return this.#selectors.move(key, undefined);
    }
    this.#encoder.putPolicy("AuthorizationPolicy", key, () => encodeAuthorizationPolicy(policy));
    const told = this.#encoder.putAuthorization(key, () => encodeAuthorization(policy, view.settings), view.settings);
    return this.#selectors.move(key, told && isSelector(policy) ? policy : undefined);
  }

  #updateSettings(view: MeshIndex): void {
    const { store, authority } = this.#deps;
    const settings = authority.addTo(view.settings);
    this.#encoder.put("settings", settingsName, () => encodeSettings(settings));
    const policies = encodeSettingsPolicies(settings);
    const names = policies.map(({ name }) => name);
    for (const gone of this.#settingsPolicies) if (!names.includes(gone)) store.delete("authorization", gone);
    for (const policy of policies) store.set("authorization", policy);
    this.#settingsPolicies = names;
  }

  async #updateServices(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<Map<string, Service | undefined>> {
    const changed = new Map<string, Service | undefined>();
    const { cluster } = view.settings;
    for (const key of dirty.services) {
      const slash = key.indexOf("/");
      const service = view.serviceByHostname(key.slice(0, slash), key.slice(slash + 1));
      changed.set(key, service);
      const members: ServiceMembers | undefined = service && { service, key, view };
      const { workloads, external, gone } = this.#memberships.update(key, members);
      for (const uid of workloads) dirty.workloads.add(uid);
      for (const name of gone) this.#encoder.drop("address", name);
      for (const [name, { service: of, address, endpoints }] of external) {
        this.#encoder.put("address", name, () => encodeExternalEndpoint(cluster, of, address, endpoints));
      }
      if (slices.due) await this.#rest(slices);
    }
    return changed;
  }

  async #updateWorkloads(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<void> {
    const modes = new NamespaceModes(view);
    for (const uid of dirty.workloads) {
      if (slices.due) await this.#rest(slices);
      const workload = view.workload(uid);
      if (workload === undefined) {
        this.#encoder.drop("address", uid);
        continue;
      }
      const encode = () =>
        encodeWorkload(
          workload,
          membershipsOf(workload, view),
          this.#attachedTo(workload, view, modes),
          !modes.any(workload.namespace) || takesTunnels(view, workload, modes.ports(workload.namespace)),
        );
      this.#encoder.put("address", uid, encode, workload.node);
    }
  }

  /** Names of the Istio policies that hold for this workload because it says so. */
  #attachedTo(workload: Workload, view: MeshIndex, modes: NamespaceModes): string[] {
    const { store } = this.#deps;
    const { rootNamespace } = view.settings;
    const names = view
      .authorizationFor(workload)
      .map(authorizationKey)
      .filter((key) => this.#selectors.has(key));
    if (!modes.any(workload.namespace)) return names;
    const refusal = plaintextRefusal(view, workload, modes.ports(workload.namespace));
    if (refusal === undefined) return names;
    const name = `${rootNamespace}/${plaintextPolicyName(refusal)}`;
    if (store.get("authorization", name) === undefined) {
      store.set("authorization", encodePlaintextRefusal(refusal, rootNamespace));
    }
    return [...names, name];
  }
}

async function addEverything(view: MeshIndex, dirty: Dirty, slices: Slices): Promise<void> {
  dirty.settings = true;
  for (const policy of view.authorizationPolicies()) dirty.authorizationPolicies.add(authorizationKey(policy));
  for (const policy of view.peerAuthentications()) dirty.peerAuthentications.add(peerAuthenticationKey(policy));
  for (const service of view.services()) dirty.services.add(serviceKey(service));
  for (const { uid, node } of view.workloads()) {
    dirty.workloads.add(uid);
    dirty.nodes.add(node);
    if (slices.due) await slices.rest();
  }
}
