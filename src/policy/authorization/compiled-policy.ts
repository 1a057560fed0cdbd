/** An AuthorizationPolicy with its rules compiled, and the order in which policies are named. */
import type { AuthorizationPolicy } from "../../model/authorization.ts";
import { type CompiledRule, compileRule } from "./compile-rule.ts";

export interface CompiledPolicy {
  /** `namespace/name`. */
  readonly key: string;
  readonly policy: AuthorizationPolicy;
  readonly rules: readonly CompiledRule[];
  readonly tier: Tier;
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
  return {
    key: authorizationKey(policy),
    policy,
    tier,
    rules: tier === "closed" || tier === "inert" ? [] : policy.rules.map((rule) => compileRule(rule, policy.namespace)),
  };
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
