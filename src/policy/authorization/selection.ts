/** Which policy sets a workload falls under, found by its own labels and Services instead of by asking every policy. */
import { labelsMatch } from "../../lib/labels.ts";
import type { AuthorizationPolicy } from "../../model/authorization.ts";
import type { Workload, WorkloadUid } from "../../model/workload.ts";
import { authorizationKey } from "./compiled-policy.ts";
import { PolicyGroup, type Selector } from "./policy-group.ts";
import type { PolicySet } from "./policy-set.ts";

export interface SelectionDeps {
  /** All pods behind a Service, ready or not; undefined for an unknown Service. */
  serviceMembers(namespace: string, name: string): Pick<ReadonlySet<WorkloadUid>, "has"> | undefined;
  /** A policy that was added, by its key. */
  policy(key: string): AuthorizationPolicy | undefined;
}

/** The groups of one namespace. */
interface NamespaceGroups {
  readonly groups: Map<string, PolicyGroup>;
  /** Groups with a label selector, by one `key=value` that they want. */
  readonly byLabel: Map<string, Set<PolicyGroup>>;
  /** Groups without a selector and those selected by Service. */
  readonly others: Set<PolicyGroup>;
}

export class Selection {
  readonly #deps: SelectionDeps;
  readonly #namespaces = new Map<string, NamespaceGroups>();

  constructor(deps: SelectionDeps) {
    this.#deps = deps;
  }

  add(policy: AuthorizationPolicy): void {
    const home = homeOf(policy);
    let known = this.#namespaces.get(home);
    if (known === undefined) {
      known = { groups: new Map(), byLabel: new Map(), others: new Set() };
      this.#namespaces.set(home, known);
    }
    const key = selectionKey(policy);
    let group = known.groups.get(key);
    if (group === undefined) {
      const { namespace, matchLabels, targetServices, scope } = policy;
      const selector: Selector = { namespace, matchLabels, targetServices, ...(scope === undefined ? {} : { scope }) };
      group = new PolicyGroup(selector, (name) => this.#deps.policy(name));
      known.groups.set(key, group);
      const label = leadLabel(policy);
      if (label === undefined) known.others.add(group);
      else known.byLabel.set(label, (known.byLabel.get(label) ?? new Set()).add(group));
    }
    group.add(authorizationKey(policy), policy);
  }

  remove(policy: AuthorizationPolicy): void {
    const home = homeOf(policy);
    const known = this.#namespaces.get(home);
    const key = selectionKey(policy);
    const group = known?.groups.get(key);
    if (known === undefined || group === undefined) return;
    group.remove(authorizationKey(policy));
    if (group.size > 0) return;
    known.groups.delete(key);
    known.others.delete(group);
    const label = leadLabel(policy);
    if (label !== undefined) {
      known.byLabel.get(label)?.delete(group);
      if (known.byLabel.get(label)?.size === 0) known.byLabel.delete(label);
    }
    if (known.groups.size === 0) this.#namespaces.delete(home);
  }

  setsFor(workload: Workload, rootNamespace: string): PolicySet[] {
    const found: PolicySet[] = [];
    for (const namespace of new Set([mesh, rootNamespace, workload.namespace])) {
      const known = this.#namespaces.get(namespace);
      if (known === undefined) continue;
      for (const group of known.others) if (this.#selects(group.selector, workload)) found.push(group.set);
      for (const [key, value] of workload.labels) {
        for (const group of known.byLabel.get(`${key}=${value}`) ?? []) {
          if (labelsMatch(group.selector.matchLabels, workload.labels)) found.push(group.set);
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

  #selects({ namespace, scope, targetServices }: Selector, workload: Workload): boolean {
    if (scope === "namespace" && namespace !== workload.namespace) return false;
    if (targetServices.length === 0) return true;
    return targetServices.some((name) => this.#deps.serviceMembers(namespace, name)?.has(workload.uid) === true);
  }
}

/** Where policies are kept whose scope is the mesh, whatever their namespace: no namespace has this name. */
const mesh = "";

function homeOf({ namespace, scope }: Selector): string {
  return scope === "mesh" ? mesh : namespace;
}

/** A label that every selected workload has; undefined when the policy doesn't select by labels. */
function leadLabel({ matchLabels, targetServices }: Selector): string | undefined {
  if (targetServices.length > 0 || matchLabels === undefined) return undefined;
  const [first] = [...matchLabels].map(([key, value]) => `${key}=${value}`).sort();
  return first;
}

function selectionKey({ matchLabels, targetServices, scope }: Selector): string {
  if (scope !== undefined) return `scope ${scope}`;
  if (targetServices.length > 0) return `services ${[...targetServices].sort().join(" ")}`;
  return `labels ${[...(matchLabels ?? [])]
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(",")}`;
}
