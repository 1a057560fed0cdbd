/** What the status of a policy object should say of it: whether Warren enforces it as it is written, and if not, why and what to do. */
import type { MeshView } from "../../model/mesh.ts";
import type { LintCode } from "../../policy/lint-codes.ts";
import { acceptedType, type Condition, type PolicyObject } from "./policy-objects.ts";

/** A condition before somebody dates it. */
export type Verdict = Omit<Condition, "lastTransitionTime">;

/** Reasons: `Accepted`, `UnsupportedTarget`, or the code of the lint that says the same. */
export type StatusReason = "Accepted" | "UnsupportedTarget" | LintCode;

/** Conditions are read in a terminal: a policy of 512 broken rules need not list them all. */
const mostProblems = 8;
const longestMessage = 4096;

export function verdictOf(object: PolicyObject, view: MeshView): Verdict {
  const { generation: observedGeneration } = object;
  const found = problem(object, view);
  if (found === undefined) {
    const message = "enforced as it is written";
    return { type: acceptedType, status: "True", reason: "Accepted", message, observedGeneration };
  }
  const { reason, message } = found;
  return { type: acceptedType, status: "False", reason, message: shortened(message), observedGeneration };
}

function problem(object: PolicyObject, view: MeshView): { reason: StatusReason; message: string } | undefined {
  const { kind, problems, outcome, namespace } = object;
  const listed = listOf(problems.map(({ field, message }) => (field === "" ? message : `${field}: ${message}`)));
  switch (outcome) {
    case "rejected": {
      const ports = kind === "PeerAuthentication" && problems.some(({ field }) => field === "spec.portLevelMtls");
      const effect =
        kind === "PeerAuthentication"
          ? "its last good version holds, or STRICT for what it selects if there was none"
          : "its last good version holds, or everything in the namespace is denied if there was none";
      return { reason: ports ? "WP110" : "WP117", message: `${listed} (${effect})` };
    }
    case "ignored":
      return problems.length === 0 ? undefined : { reason: "UnsupportedTarget", message: `${listed} (not enforced)` };
    case "ok": {
      if (problems.length > 0 && kind === "AuthorizationPolicy") {
        return { reason: "WP100", message: `${listed} (until then it denies what it selects)` };
      }
      const missing = object.targetServices.filter(
        (name) =>
          view.serviceByHostname(namespace, `${name}.${namespace}.svc.${view.settings.clusterDomain}`) === undefined,
      );
      if (missing.length === 0) return undefined;
      const message = listOf(missing.map((name) => `spec.targetRefs: there is no Service ${namespace}/${name}`));
      return { reason: "WP114", message: `${message} (create it, or name another)` };
    }
  }
}

function listOf(texts: readonly string[]): string {
  const more = texts.length - mostProblems;
  return [...texts.slice(0, mostProblems), ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
}

function shortened(text: string): string {
  return text.length <= longestMessage ? text : `${text.slice(0, longestMessage - 1)}…`;
}

/** Whether the object says this already. */
export function says({ accepted }: Pick<PolicyObject, "accepted">, verdict: Verdict): boolean {
  return (
    accepted !== undefined &&
    accepted.status === verdict.status &&
    accepted.reason === verdict.reason &&
    accepted.message === verdict.message &&
    accepted.observedGeneration === verdict.observedGeneration
  );
}
