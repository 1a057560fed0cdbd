/**
 * AuthorizationPolicies, indexed and evaluated. A connection (or a request on it) is asked about in this order: policies that cannot be
 * evaluated refuse; DENY refuses; where some ALLOW policy selects the workload one of them must match; else the mesh's default.
 * AUDIT and dry-run policies are recorded beside that. With only the connection known, an answer may be `needs-http`.
 */
import type {
  AuthorizationPolicy,
  AuthorizationRequest,
  AuthorizationVerdict,
  ShadowMatch,
} from "../../model/authorization.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import { authorizationKey, type CompiledPolicy, compilePolicy, type PolicyRule, type Tier } from "./compiled-policy.ts";
import { type Facts, factsOf } from "./facts.ts";
import { mayConcernPort } from "./http-ports.ts";
import { PolicySet } from "./policy-set.ts";
import { type PolicyStore, policiesAsTheyCame, type StoredPolicy } from "./policy-store.ts";
import type { RuleMatch } from "./rule-index.ts";
import { Selection, type SelectionDeps } from "./selection.ts";

export { authorizationKey } from "./compiled-policy.ts";

/** What a workload is under. */
interface Selected {
  readonly sets: readonly PolicySet[];
  /** Names in `attachedPolicies` that no policy has. */
  readonly unknown: string | undefined;
  readonly httpPorts: Map<number, boolean>;
}

export class AuthorizationIndex {
  #settings: MeshSettings;
  readonly #store: PolicyStore;
  readonly #policies = new Map<string, StoredPolicy>();
  readonly #selection: Selection;
  readonly #attached = new Map<string, PolicySet>();
  /** By the workload's value: one with other labels is another value. */
  #selected = new WeakMap<Workload, Selected>();

  constructor(
    settings: MeshSettings,
    deps: Pick<SelectionDeps, "serviceMembers">,
    store: PolicyStore = policiesAsTheyCame,
  ) {
    this.#settings = settings;
    this.#store = store;
    this.#selection = new Selection({ ...deps, policy: (key) => this.get(key) });
  }

  setSettings(settings: MeshSettings): void {
    this.#settings = settings;
    this.#selected = new WeakMap();
  }

  set(policy: AuthorizationPolicy): void {
    const key = authorizationKey(policy);
    this.#unlink(key);
    this.#policies.set(key, this.#store.put(policy));
    if (policy.attached === true) {
      const set = new PolicySet();
      set.set(compilePolicy(policy));
      this.#attached.set(key, set);
    } else {
      this.#selection.add(policy);
    }
    this.#selected = new WeakMap();
  }

  remove(key: string): boolean {
    this.#unlink(key);
    this.#selected = new WeakMap();
    return this.#policies.delete(key);
  }

  get(key: string): AuthorizationPolicy | undefined {
    return this.#policies.get(key)?.read();
  }

  *policies(): Iterable<AuthorizationPolicy> {
    for (const stored of this.#policies.values()) yield stored.read();
  }

  /** Pods came to or left a Service that may be a policy's target. */
  membersChanged(): void {
    this.#selected = new WeakMap();
  }

  /** True if this policy, in force or not, is one that the workload falls under. */
  selects(policy: AuthorizationPolicy, workload: Workload): boolean {
    if (policy.attached === true) return workload.attachedPolicies?.includes(authorizationKey(policy)) === true;
    return this.#selection.selects(policy, workload, this.#settings.rootNamespace);
  }

  policiesFor(workload: Workload): readonly AuthorizationPolicy[] {
    return this.compiledFor(workload).map(({ policy }) => policy);
  }

  /** By name. */
  compiledFor(workload: Workload): readonly CompiledPolicy[] {
    const policies = this.#select(workload).sets.flatMap((set) => [...set.policies()]);
    return policies.sort((one, other) => (one.key < other.key ? -1 : 1));
  }

  /** True if an enforced rule with HTTP attributes may concern this port of the workload. */
  readsHttp(workload: Workload, port: number): boolean {
    const { sets, httpPorts } = this.#select(workload);
    let reads = httpPorts.get(port);
    if (reads === undefined) {
      reads = sets.some((set) =>
        [...set.httpPolicies()].some(({ rules }) =>
          rules.some(({ http, source }) => http && mayConcernPort(source, port)),
        ),
      );
      httpPorts.set(port, reads);
    }
    return reads;
  }

  authorize(workload: Workload, request: AuthorizationRequest): AuthorizationVerdict {
    const { sets, unknown } = this.#select(workload);
    const closed = unknown ?? firstOf(sets, "closed");
    if (closed !== "") return refusal("policy-unevaluable", closed);
    if (sets.length === 0) return this.#byDefault([]);
    const facts = factsOf(request, this.#settings);
    if (facts === undefined) return refusal("policy-unevaluable", firstOf(sets, "deny") || firstOf(sets, "allow"));
    const shadow = shadowMatches(sets, facts);
    const deny = best(sets.map((set) => set.deny.match(facts)));
    if (deny.yes !== undefined) return ruled("deny", deny.yes, shadow);
    const firstAllow = firstOf(sets, "allow");
    if (firstAllow === "") {
      const verdict = this.#byDefault(shadow);
      return deny.later === undefined || verdict.outcome === "deny" ? verdict : ruled("needs-http", deny.later, shadow);
    }
    const allow = best(sets.map((set) => set.allow.match(facts)));
    const allowed = allow.yes ?? allow.later;
    if (allowed === undefined) return { ...refusal("policy-denied", firstAllow), shadow };
    if (deny.later !== undefined) return ruled("needs-http", deny.later, shadow);
    return ruled(allow.yes === undefined ? "needs-http" : "allow", allowed, shadow);
  }

  #byDefault(shadow: readonly ShadowMatch[]): AuthorizationVerdict {
    if (this.#settings.defaultAction === "deny") return { ...refusal("policy-denied", ""), shadow };
    return { outcome: "allow", reason: "ok", policy: "", rule: -1, shadow };
  }

  #unlink(key: string): void {
    const before = this.#policies.get(key);
    if (before === undefined) return;
    const policy = before.read();
    if (policy.attached === true) this.#attached.delete(key);
    else this.#selection.remove(policy);
    before.free();
  }

  #select(workload: Workload): Selected {
    let selected = this.#selected.get(workload);
    if (selected === undefined) {
      const names = workload.attachedPolicies ?? [];
      const attached = names.map((name) => this.#attached.get(name));
      selected = {
        sets: [
          ...this.#selection.setsFor(workload, this.#settings.rootNamespace),
          ...attached.filter((set) => set !== undefined),
        ],
        unknown: names.find((name) => !this.#attached.has(name)),
        httpPorts: new Map(),
      };
      this.#selected.set(workload, selected);
    }
    return selected;
  }
}

function firstOf(sets: readonly PolicySet[], tier: Tier): string {
  let first = "";
  for (const set of sets) {
    const own = set.first(tier);
    if (own !== "" && (first === "" || own < first)) first = own;
  }
  return first;
}

function before(one: PolicyRule | undefined, other: PolicyRule | undefined): PolicyRule | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one.policy.key <= other.policy.key ? one : other;
}

function best(matches: readonly RuleMatch[]): RuleMatch {
  return matches.reduce(
    (first, next) => ({ yes: before(first.yes, next.yes), later: before(first.later, next.later) }),
    { yes: undefined, later: undefined },
  );
}

function refusal(reason: AuthorizationVerdict["reason"], policy: string): AuthorizationVerdict {
  return { outcome: "deny", reason, policy, rule: -1, shadow: [] };
}

function ruled(
  outcome: AuthorizationVerdict["outcome"],
  { policy, index }: PolicyRule,
  shadow: readonly ShadowMatch[],
): AuthorizationVerdict {
  return { outcome, reason: outcome === "allow" ? "ok" : "policy-denied", policy: policy.key, rule: index, shadow };
}

/**
 * AUDIT and dry-run rules that match. Those that ask about HTTP are recorded where requests are read anyway: reading them only to
 * record would turn away what isn't HTTP, and a shadow has no effect.
 */
function shadowMatches(sets: readonly PolicySet[], facts: Facts): readonly ShadowMatch[] {
  const matches: ShadowMatch[] = [];
  for (const set of sets) {
    set.shadow.matchEach(facts, ({ key, policy }, answer) => {
      if (answer === "yes" && policy.action !== "CUSTOM") matches.push({ policy: key, action: policy.action });
    });
  }
  return matches.length < 2 ? matches : matches.sort((one, other) => (one.policy < other.policy ? -1 : 1));
}
