/**
 * Why a connection (or a request) is let in or refused: the verdict of the very functions that decide in the agent, with a trace of
 * every policy that selects the workload and the fields that stood in the way. Pure over a `MeshView`; the command line prints it.
 */
import type { AuthorizationRequest, AuthorizationVerdict } from "../model/authorization.ts";
import type { EffectiveMode, MeshView } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { Workload } from "../model/workload.ts";
import { type Answer, type CompiledRule, type Literal, matchAll, matchRule } from "./authorization/compile-rule.ts";
import { type CompiledPolicy, compilePolicy, mustBeSure } from "./authorization/compiled-policy.ts";
import { type Facts, factsOf } from "./authorization/facts.ts";
import { refusedByTransport } from "./transport.ts";

export interface FieldTrace {
  /** `from[0].source.principals`. */
  readonly field: string;
  readonly values: readonly string[];
  readonly answer: Exclude<Answer, "yes">;
}

export interface RuleTrace {
  readonly index: number;
  readonly answer: Answer;
  /** Of a rule that doesn't match (yet), what it asked for in vain: per alternative of `from` and `to`, and per condition. */
  readonly missing: readonly FieldTrace[];
}

export interface PolicyTrace {
  /** `namespace/name`. */
  readonly policy: string;
  readonly action: "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";
  readonly dryRun: boolean;
  /** `unevaluable` refuses everything, unless the policy only records. */
  readonly result: "matches" | "no match" | "needs HTTP" | "unevaluable";
  readonly problems: readonly string[];
  readonly rules: readonly RuleTrace[];
}

export interface Explanation {
  readonly outcome: AuthorizationVerdict["outcome"];
  readonly reason: Reason;
  /** `namespace/name` of the PeerAuthentication or AuthorizationPolicy that decided; empty for a default. */
  readonly decidedBy: string;
  /** Index of the deciding rule, -1 when it was not a rule. */
  readonly rule: number;
  readonly mode: EffectiveMode;
  readonly policies: readonly PolicyTrace[];
}

export function explain(view: MeshView, workload: Workload, request: AuthorizationRequest): Explanation {
  const mode = view.inboundMode(workload, request.destination.port);
  const policies = view.authorizationFor(workload).map(compilePolicy);
  const facts = factsOf(request, view.settings);
  const traces = policies.map((policy) => tracePolicy(policy, facts));
  const refused = refusedByTransport(view, workload, request);
  if (refused !== undefined) {
    const { reason, policy } = refused;
    return { outcome: "deny", reason, decidedBy: policy, rule: -1, mode, policies: traces };
  }
  const { outcome, reason, policy, rule } = view.authorize(workload, request);
  return { outcome, reason, decidedBy: policy, rule, mode, policies: traces };
}

function tracePolicy(policy: CompiledPolicy, facts: Facts | undefined): PolicyTrace {
  const { action, dryRun, problems } = policy.policy;
  const base = { policy: policy.key, action, dryRun, problems };
  if (policy.tier === "closed" || policy.tier === "inert" || facts === undefined) {
    return { ...base, result: "unevaluable", rules: [] };
  }
  const sure = mustBeSure(policy);
  const rules = policy.rules.map(({ index, compiled }): RuleTrace => {
    const answer = matchRule(compiled, facts, sure);
    return { index, answer, missing: answer === "yes" ? [] : missing(compiled, facts, sure) };
  });
  const answers = new Set(rules.map(({ answer }) => answer));
  return {
    ...base,
    result: answers.has("yes") ? "matches" : answers.has("later") ? "needs HTTP" : "no match",
    rules,
  };
}

function missing(rule: CompiledRule, facts: Facts, sure: boolean): FieldTrace[] {
  return [
    ...missingOf(rule.from, facts, sure),
    ...missingOf(rule.to, facts, sure),
    ...rule.when.flatMap((literal) => traceField(literal, facts, sure)),
  ];
}

/** One alternative that holds is enough; if none does, each tells its fields that don't. */
function missingOf(alternatives: readonly (readonly Literal[])[], facts: Facts, sure: boolean): FieldTrace[] {
  if (alternatives.some((literals) => matchAll(literals, facts, sure) === "yes")) return [];
  return alternatives.flatMap((literals) => literals.flatMap((literal) => traceField(literal, facts, sure)));
}

function traceField(literal: Literal, facts: Facts, sure: boolean): FieldTrace[] {
  const answer = literal.test(facts, sure);
  return answer === "yes" ? [] : [{ field: literal.field, values: literal.values, answer }];
}
