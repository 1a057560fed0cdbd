/** An AuthorizationPolicy as it is evaluated, and the order in which policies are named. */
import type { AuthorizationPolicy, AuthorizationRule } from "../../model/authorization.ts";
import { asksHttp, type CompiledRule, compileRule } from "./compile-rule.ts";

export interface CompiledPolicy {
  /** `namespace/name`. */
  readonly key: string;
  readonly policy: AuthorizationPolicy;
  readonly rules: readonly PolicyRule[];
  readonly tier: Tier;
}

/** One rule of a policy. It is compiled when it is first asked: of many rules most never are. */
export class PolicyRule {
  readonly policy: CompiledPolicy;
  readonly index: number;
  readonly source: AuthorizationRule;
  /** Some of its fields ask about HTTP. */
  readonly http: boolean;
  #compiled: CompiledRule | undefined;

  constructor(policy: CompiledPolicy, index: number, source: AuthorizationRule) {
    this.policy = policy;
    this.index = index;
    this.source = source;
    this.http = asksHttp(source);
  }

  get compiled(): CompiledRule {
    this.#compiled ??= compileRule(this.source, this.policy.policy.namespace);
    return this.#compiled;
  }
}

/**
 * What a policy does. `closed`: it can't be evaluated, so it refuses all that it selects. `shadow`: it is recorded and refuses nothing.
 * `inert`: a shadow policy that can't be evaluated; there is nothing to record.
 */
export type Tier = "closed" | "deny" | "allow" | "shadow" | "inert";

/** `namespace/name`. */
export function authorizationKey(policy: Pick<AuthorizationPolicy, "namespace" | "name">): string {
  return `${policy.namespace}/${policy.name}`;
}

export function compilePolicy(policy: AuthorizationPolicy): CompiledPolicy {
  const tier = tierOf(policy);
  const rules: PolicyRule[] = [];
  const compiled: CompiledPolicy = { key: authorizationKey(policy), policy, tier, rules };
  if (tier !== "closed" && tier !== "inert") {
    for (const [index, rule] of policy.rules.entries()) rules.push(new PolicyRule(compiled, index, rule));
  }
  return compiled;
}

function tierOf({ action, dryRun, problems }: AuthorizationPolicy): Tier {
  const evaluable = problems.length === 0 && action !== "CUSTOM";
  if (action === "AUDIT" || dryRun) return evaluable ? "shadow" : "inert";
  if (!evaluable) return "closed";
  return action === "DENY" ? "deny" : "allow";
}

/** A DENY rule takes what may match, all others only what surely does; an AUDIT rule records what may. */
export function mustBeSure({ policy }: CompiledPolicy): boolean {
  return policy.action === "ALLOW";
}
