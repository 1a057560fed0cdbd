import type { MeshChange } from "../../model/mesh.ts";
import type { WorkloadUid } from "../../model/workload.ts";
import type { Selector } from "./policy-selections.ts";

const keyedKinds = ["services", "authorizationPolicies", "peerAuthentications", "networkPolicies", "nodes"] as const;

/** What has to be looked at again: the changes of a mesh since the last update, gathered. */
export class Dirty {
  /** Settings changed, and much hangs on them. */
  everything = false;
  /** Settings changed in what only agents look at. */
  settings = false;
  readonly workloads = new Set<WorkloadUid>();
  readonly services = new Set<string>();
  readonly authorizationPolicies = new Set<string>();
  readonly peerAuthentications = new Set<string>();
  readonly networkPolicies = new Set<string>();
  readonly nodes = new Set<string>();
  /** Policies that came to select others, or ceased to: their workloads are not looked for yet. */
  readonly selectors: Selector[] = [];

  /** What forbids or allows is new. */
  get rules(): boolean {
    return this.settings || this.authorizationPolicies.size + this.peerAuthentications.size > 0;
  }

  add(change: MeshChange): void {
    this.everything ||= change.settings;
    for (const uid of change.workloads) this.workloads.add(uid);
    for (const kind of keyedKinds) for (const key of change[kind]) this[kind].add(key);
    // Pods that came to or left a Service: a policy with a targetRef to it follows.
    if (change.policyScope !== "all") for (const uid of change.policyScope) this.workloads.add(uid);
  }

  /** What was not looked at to its end. */
  addAgain(other: Dirty): void {
    this.everything ||= other.everything;
    this.settings ||= other.settings;
    for (const uid of other.workloads) this.workloads.add(uid);
    for (const kind of keyedKinds) for (const key of other[kind]) this[kind].add(key);
    this.selectors.push(...other.selectors);
  }
}
