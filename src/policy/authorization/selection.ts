/** Which policy sets a workload falls under, found by its own labels and Services instead of by asking every policy. */
import { labelsMatch } from "../../lib/labels.ts";
import type { AuthorizationPolicy } from "../../model/authorization.ts";
import type { Workload, WorkloadUid } from "../../model/workload.ts";
import type { CompiledPolicy } from "./compiled-policy.ts";
import { PolicySet } from "./policy-set.ts";

export interface SelectionDeps {
  /** All pods behind a Service, ready or not; undefined for an unknown Service. */
  serviceMembers(namespace: string, name: string): Pick<ReadonlySet<WorkloadUid>, "has"> | undefined;
}

interface Selected {
  readonly policy: AuthorizationPolicy;
  readonly set: PolicySet;
}

/** The sets of one namespace. */
interface NamespaceSets {
  readonly sets: Map<string, Selected>;
  /** Sets with a label selector, by one `key=value` that they want. */
  readonly byLabel: Map<string, Set<Selected>>;
  /** Sets without a selector and those selected by Service. */
  readonly others: Set<Selected>;
}

export class Selection {
  readonly #deps: SelectionDeps;
  readonly #namespaces = new Map<string, NamespaceSets>();

  constructor(deps: SelectionDeps) {
    this.#deps = deps;
  }

  /** True if this made a new set, so that a workload may fall under more than before. */
  add(policy: CompiledPolicy): boolean {
    const namespace = homeOf(policy.policy);
    let sets = this.#namespaces.get(namespace);
    if (sets === undefined) {
      sets = { sets: new Map(), byLabel: new Map(), others: new Set() };
      this.#namespaces.set(namespace, sets);
    }
    const key = selectionKey(policy.policy);
    const known = sets.sets.get(key);
    if (known !== undefined) {
      known.set.set(policy);
      return false;
    }
    const selected: Selected = { policy: policy.policy, set: new PolicySet() };
    selected.set.set(policy);
    sets.sets.set(key, selected);
    const label = leadLabel(policy.policy);
    if (label === undefined) sets.others.add(selected);
    else sets.byLabel.set(label, (sets.byLabel.get(label) ?? new Set()).add(selected));
    return true;
  }

  /** True if a set is gone. */
  remove(policy: CompiledPolicy): boolean {
    const namespace = homeOf(policy.policy);
    const sets = this.#namespaces.get(namespace);
    const key = selectionKey(policy.policy);
    const selected = sets?.sets.get(key);
    if (sets === undefined || selected === undefined) return false;
    selected.set.remove(policy.key);
    if (selected.set.size > 0) return false;
    sets.sets.delete(key);
    sets.others.delete(selected);
    const label = leadLabel(policy.policy);
    if (label !== undefined) {
      sets.byLabel.get(label)?.delete(selected);
      if (sets.byLabel.get(label)?.size === 0) sets.byLabel.delete(label);
    }
    if (sets.sets.size === 0) this.#namespaces.delete(namespace);
    return true;
  }

  setsFor(workload: Workload, rootNamespace: string): PolicySet[] {
    const found: PolicySet[] = [];
    for (const namespace of new Set([mesh, rootNamespace, workload.namespace])) {
      const sets = this.#namespaces.get(namespace);
      if (sets === undefined) continue;
      for (const selected of sets.others) if (this.#selects(selected.policy, workload)) found.push(selected.set);
      for (const [key, value] of workload.labels) {
        for (const selected of sets.byLabel.get(`${key}=${value}`) ?? []) {
          if (labelsMatch(selected.policy.matchLabels, workload.labels)) found.push(selected.set);
        }
      }
    }
    return found;
  }

  /** One policy alone, whether it was added or not. */
  selects(policy: AuthorizationPolicy, workload: Workload, rootNamespace: string): boolean {
    const home = homeOf(policy);
    if (home !== mesh && home !== rootNamespace && home !== workload.namespace) return false;
    return this.#selects(policy, workload) && labelsMatch(policy.matchLabels, workload.labels);
  }

  #selects({ namespace, scope, targetServices }: AuthorizationPolicy, workload: Workload): boolean {
    if (scope === "namespace" && namespace !== workload.namespace) return false;
    if (targetServices.length === 0) return true;
    return targetServices.some((name) => this.#deps.serviceMembers(namespace, name)?.has(workload.uid) === true);
  }
}

/** Where policies are kept whose scope is the mesh, whatever their namespace: no namespace has this name. */
const mesh = "";

function homeOf({ namespace, scope }: AuthorizationPolicy): string {
  return scope === "mesh" ? mesh : namespace;
}

/** A label that every selected workload has; undefined when the policy doesn't select by labels. */
function leadLabel({ matchLabels, targetServices }: AuthorizationPolicy): string | undefined {
  if (targetServices.length > 0 || matchLabels === undefined) return undefined;
  const [first] = [...matchLabels].map(([key, value]) => `${key}=${value}`).sort();
  return first;
}

function selectionKey({ matchLabels, targetServices, scope }: AuthorizationPolicy): string {
  if (scope !== undefined) return `scope ${scope}`;
  if (targetServices.length > 0) return `services ${[...targetServices].sort().join(" ")}`;
  return `labels ${[...(matchLabels ?? [])]
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(",")}`;
}
