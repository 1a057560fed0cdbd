/** AuthorizationPolicies by the workloads that they select. */
import { labelsMatch } from "../../lib/labels.ts";
import type { AuthorizationPolicy, AuthorizationRequest, AuthorizationVerdict } from "../../model/authorization.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import type { Workload, WorkloadUid } from "../../model/workload.ts";

export interface AuthorizationIndexDeps {
  /** All pods behind a Service, ready or not; undefined for an unknown Service. */
  serviceMembers(namespace: string, name: string): ReadonlySet<WorkloadUid> | undefined;
}

/** `namespace/name`. */
export function authorizationKey(policy: Pick<AuthorizationPolicy, "namespace" | "name">): string {
  return `${policy.namespace}/${policy.name}`;
}

export class AuthorizationIndex {
  #settings: MeshSettings;
  readonly #deps: AuthorizationIndexDeps;
  readonly #policies = new Map<string, AuthorizationPolicy>();
  readonly #selected = new Map<WorkloadUid, readonly AuthorizationPolicy[]>();

  constructor(settings: MeshSettings, deps: AuthorizationIndexDeps) {
    this.#settings = settings;
    this.#deps = deps;
  }

  setSettings(settings: MeshSettings): void {
    this.#settings = settings;
    this.#selected.clear();
  }

  set(policy: AuthorizationPolicy): void {
    this.#policies.set(authorizationKey(policy), policy);
    this.#selected.clear();
  }

  remove(key: string): boolean {
    this.#selected.clear();
    return this.#policies.delete(key);
  }

  get(key: string): AuthorizationPolicy | undefined {
    return this.#policies.get(key);
  }

  policies(): Iterable<AuthorizationPolicy> {
    return this.#policies.values();
  }

  forgetWorkload(uid: WorkloadUid): void {
    this.#selected.delete(uid);
  }

  policiesFor(workload: Workload): readonly AuthorizationPolicy[] {
    let selected = this.#selected.get(workload.uid);
    if (selected === undefined) {
      selected = [...this.#policies.values()].filter((policy) => this.#selects(policy, workload));
      this.#selected.set(workload.uid, selected);
    }
    return selected;
  }

  #selects(policy: AuthorizationPolicy, workload: Workload): boolean {
    if (policy.attached === true) return workload.attachedPolicies?.includes(authorizationKey(policy)) ?? false;
    if (policy.namespace !== workload.namespace && policy.namespace !== this.#settings.rootNamespace) return false;
    if (policy.targetServices.length > 0) {
      return policy.targetServices.some((name) => this.#deps.serviceMembers(policy.namespace, name)?.has(workload.uid));
    }
    return labelsMatch(policy.matchLabels, workload.labels);
  }

  /** Until rules are compiled, a workload that any policy selects is closed. */
  authorize(workload: Workload, _request: AuthorizationRequest): AuthorizationVerdict {
    const [policy] = this.policiesFor(workload);
    const closed = policy !== undefined || this.#settings.defaultAction === "deny";
    return {
      outcome: closed ? "deny" : "allow",
      reason: policy === undefined ? (closed ? "policy-denied" : "ok") : "policy-unevaluable",
      policy: policy === undefined ? "" : authorizationKey(policy),
      rule: -1,
      shadow: [],
    };
  }
}
