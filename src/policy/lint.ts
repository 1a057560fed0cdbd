/**
 * Lints: policies that are valid and probably not what their author means.
 * Pure over a `MeshView`, so that the command line, the control plane and admission say the same.
 */
import type { AuthorizationPolicy } from "../model/authorization.ts";
import type { MeshView } from "../model/mesh.ts";
import type { PeerAuthentication } from "../model/peer-authentication.ts";
import { authorizationKey } from "./authorization/compiled-policy.ts";
import type { LintCode } from "./lint-codes.ts";
import { lintRules } from "./lint-rules.ts";
import { workloadsByPolicy } from "./lint-selection.ts";
import { peerAuthenticationKey } from "./peer-authentication.ts";

export interface Finding {
  readonly code: LintCode;
  readonly severity: "error" | "warning" | "note";
  readonly kind: "AuthorizationPolicy" | "PeerAuthentication";
  /** `namespace/name`. */
  readonly object: string;
  /** Empty for the object as a whole. */
  readonly field: string;
  readonly message: string;
}

export interface LintOptions {
  /** The view holds all workloads and Services. Without them, lints that compare policies with workloads are left out. */
  readonly whole: boolean;
}

/** By object, then code: the order is stable. */
export function lint(view: MeshView, { whole }: LintOptions): Finding[] {
  const authorization = [...view.authorizationPolicies()];
  const authentication = [...view.peerAuthentications()];
  const findings = [
    ...authorization.flatMap((policy) => lintAuthorization(policy, view)),
    ...authentication.flatMap((policy) => lintPeerAuthentication(policy, authentication, view)),
    ...(whole ? lintSelections(view, authorization, authentication) : []),
  ];
  const order = ({ kind, object, code, field }: Finding): string => [kind, object, code, field].join(" ");
  return findings.sort((one, other) => (order(one) < order(other) ? -1 : 1));
}

type Report = (code: LintCode, severity: Finding["severity"], field: string, message: string) => Finding;

function reporter(kind: Finding["kind"], object: string): Report {
  return (code, severity, field, message) => ({ code, severity, kind, object, field, message });
}

function lintAuthorization(policy: AuthorizationPolicy, view: MeshView): Finding[] {
  const report = reporter("AuthorizationPolicy", authorizationKey(policy));
  const problems = policy.problems.map((problem) => report("WP100", "error", "", problem));
  return [...problems, ...lintRules(policy, view.settings).map((found) => report(...found))];
}

function lintPeerAuthentication(
  policy: PeerAuthentication,
  all: readonly PeerAuthentication[],
  view: MeshView,
): Finding[] {
  const report = reporter("PeerAuthentication", peerAuthenticationKey(policy));
  const findings: Finding[] = [];
  const selecting = policy.matchLabels !== undefined && policy.matchLabels.size > 0;
  if (policy.portModes.size > 0 && !selecting) {
    findings.push(report("WP110", "error", "spec.portLevelMtls", "port modes hold only together with a selector"));
  }
  if (policy.namespace === view.settings.rootNamespace && selecting) {
    const message = "put it into the namespace of the workloads: in the root namespace only mesh-wide objects count";
    findings.push(report("WP112", "warning", "spec.selector", message));
  }
  const level = levelKey(policy);
  const older = all.find((other) => other !== policy && levelKey(other) === level && wins(other, policy));
  if (older !== undefined) {
    const message = `${peerAuthenticationKey(older)} is older and wins; this one has no effect`;
    findings.push(report("WP102", "warning", "", message));
  }
  return findings;
}

/** Objects with the same key compete for the same workloads. */
function levelKey({ namespace, matchLabels }: PeerAuthentication): string {
  return JSON.stringify([namespace, [...(matchLabels ?? [])].map(([key, value]) => `${key}=${value}`).sort()]);
}

function wins(one: PeerAuthentication, other: PeerAuthentication): boolean {
  if (one.createdAt !== other.createdAt) return one.createdAt < other.createdAt;
  return peerAuthenticationKey(one) < peerAuthenticationKey(other);
}

function lintSelections(
  view: MeshView,
  authorization: readonly AuthorizationPolicy[],
  authentication: readonly PeerAuthentication[],
): Finding[] {
  return workloadsByPolicy(view, authorization, authentication).flatMap(({ kind, object, found }) =>
    found.map((finding) => reporter(kind, object)(...finding)),
  );
}
