/**
 * PeerAuthentication: which traffic a workload's port accepts. The narrowest object that says something wins (mesh, namespace,
 * workload, port), UNSET inherits from the next wider level, the oldest object wins a tie on a level, and the default is
 * PERMISSIVE. Root-namespace objects with a selector select nothing, as in Istio's ambient mode: `lint.ts` says so.
 */
import { labelsMatch } from "../lib/labels.ts";
import type { EffectiveMode } from "../model/mesh.ts";
import type { PeerAuthentication, PeerAuthenticationMode } from "../model/peer-authentication.ts";
import type { Workload } from "../model/workload.ts";

/** All ports of one workload, compiled: looking a port up costs one map access. */
export interface WorkloadModes {
  readonly mode: EffectiveMode;
  readonly ports: ReadonlyMap<number, EffectiveMode>;
}

const byDefault: EffectiveMode = { mode: "PERMISSIVE", policy: "" };

function inherit(mode: PeerAuthenticationMode | undefined, wider: EffectiveMode, policy: string): EffectiveMode {
  return mode === undefined || mode === "UNSET" ? wider : { mode, policy };
}

/** Oldest first; names break ties of objects made in the same instant, so that every agent decides alike. */
function isOlder(one: PeerAuthentication, other: PeerAuthentication): boolean {
  if (one.createdAt !== other.createdAt) return one.createdAt < other.createdAt;
  return peerAuthenticationKey(one) < peerAuthenticationKey(other);
}

/** `namespace/name`. */
export function peerAuthenticationKey(policy: PeerAuthentication): string {
  return `${policy.namespace}/${policy.name}`;
}

function hasSelector(policy: PeerAuthentication): boolean {
  return policy.matchLabels !== undefined && policy.matchLabels.size > 0;
}

/** The objects that take part in a workload's modes, one per level at most. */
export function peerAuthenticationLevels(
  policies: Iterable<PeerAuthentication>,
  workload: Pick<Workload, "namespace" | "labels">,
  rootNamespace: string,
): {
  mesh: PeerAuthentication | undefined;
  namespace: PeerAuthentication | undefined;
  workload: PeerAuthentication | undefined;
} {
  const levels: ReturnType<typeof peerAuthenticationLevels> = {
    mesh: undefined,
    namespace: undefined,
    workload: undefined,
  };
  for (const policy of policies) {
    const level = levelOf(policy, workload, rootNamespace);
    if (level === undefined) continue;
    const other = levels[level];
    if (other === undefined || isOlder(policy, other)) levels[level] = policy;
  }
  return levels;
}

function levelOf(
  policy: PeerAuthentication,
  workload: Pick<Workload, "namespace" | "labels">,
  rootNamespace: string,
): "mesh" | "namespace" | "workload" | undefined {
  if (policy.namespace === rootNamespace) return hasSelector(policy) ? undefined : "mesh";
  if (policy.namespace !== workload.namespace) return undefined;
  if (!hasSelector(policy)) return "namespace";
  return labelsMatch(policy.matchLabels, workload.labels) ? "workload" : undefined;
}

/** True if the object has a say in the workload's modes, on whatever level. */
export function takesPart(
  policy: PeerAuthentication,
  workload: Pick<Workload, "namespace" | "labels">,
  rootNamespace: string,
): boolean {
  return levelOf(policy, workload, rootNamespace) !== undefined;
}

/** The effective modes of a workload. */
export function compileModes(
  policies: Iterable<PeerAuthentication>,
  workload: Pick<Workload, "namespace" | "labels">,
  rootNamespace: string,
): WorkloadModes {
  const levels = peerAuthenticationLevels(policies, workload, rootNamespace);
  let mode = byDefault;
  for (const policy of [levels.mesh, levels.namespace, levels.workload]) {
    if (policy !== undefined) mode = inherit(policy.mode, mode, peerAuthenticationKey(policy));
  }
  const ports = new Map<number, EffectiveMode>();
  if (levels.workload !== undefined) {
    const key = peerAuthenticationKey(levels.workload);
    for (const [port, portMode] of levels.workload.portModes) ports.set(port, inherit(portMode, mode, key));
  }
  return { mode, ports };
}

/** The mode of one workload port. */
export function modeOfPort(modes: WorkloadModes, port: number): EffectiveMode {
  return modes.ports.get(port) ?? modes.mode;
}
