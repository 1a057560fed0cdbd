/** The policies with one and the same selection, ready to be asked. */
import type { CompiledPolicy, Tier } from "./compiled-policy.ts";
import { RuleIndex } from "./rule-index.ts";

export class PolicySet {
  readonly deny = new RuleIndex();
  readonly allow = new RuleIndex();
  readonly shadow = new RuleIndex();
  readonly #policies = new Map<string, CompiledPolicy>();
  readonly #http = new Map<string, CompiledPolicy>();
  /** First names per tier, found when asked. */
  #first = new Map<Tier, string>();

  get size(): number {
    return this.#policies.size;
  }

  policies(): Iterable<CompiledPolicy> {
    return this.#policies.values();
  }

  set(policy: CompiledPolicy): void {
    this.remove(policy.key);
    this.#policies.set(policy.key, policy);
    const enforced = policy.tier === "deny" || policy.tier === "allow";
    if (enforced && policy.rules.some(({ http }) => http)) this.#http.set(policy.key, policy);
    this.#indexOf(policy.tier)?.add(policy);
    this.#first = new Map();
  }

  remove(key: string): void {
    const policy = this.#policies.get(key);
    if (policy === undefined) return;
    this.#policies.delete(key);
    this.#http.delete(key);
    this.#indexOf(policy.tier)?.remove(policy);
    this.#first = new Map();
  }

  /** The first policy of a tier by name; empty when the tier is. */
  first(tier: Tier): string {
    let first = this.#first.get(tier);
    if (first === undefined) {
      first = "";
      for (const { key, tier: own } of this.#policies.values()) {
        if (own === tier && (first === "" || key < first)) first = key;
      }
      this.#first.set(tier, first);
    }
    return first;
  }

  /** Enforced policies that have rules with HTTP attributes. */
  httpPolicies(): Iterable<CompiledPolicy> {
    return this.#http.values();
  }

  #indexOf(tier: Tier): RuleIndex | undefined {
    return tier === "deny" || tier === "allow" || tier === "shadow" ? this[tier] : undefined;
  }
}
