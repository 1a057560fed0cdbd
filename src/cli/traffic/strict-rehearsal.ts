/** What a port's mode would be if STRICT were set for a scope: the agent's own functions over one more object. Pure. */
import { MeshError } from "../../lib/errors.ts";
import type { EffectiveMode, MeshView } from "../../model/mesh.ts";
import type { PeerAuthentication } from "../../model/peer-authentication.ts";
import type { Workload } from "../../model/workload.ts";
import { compileModes, modeOfPort } from "../../policy/peer-authentication.ts";
import { findWorkloads } from "../query/workload-reference.ts";

export type RehearsalScope =
  | { readonly kind: "mesh" }
  | { readonly kind: "namespace"; readonly namespace: string }
  | { readonly kind: "workloads"; readonly reference: string; readonly pods: readonly Workload[] };

/** `mesh`, `ns/x` or a workload. */
export function scopeOf(view: MeshView, text: string, namespace: string): RehearsalScope {
  if (text === "mesh") return { kind: "mesh" };
  const [, name] = /^(?:ns|namespace)\/(.+)$/.exec(text) ?? [];
  if (name === undefined) return { kind: "workloads", reference: text, pods: findWorkloads(view, text, namespace) };
  const known = new Set(Array.from(view.workloads(), (workload) => workload.namespace));
  if (!known.has(name)) {
    const there = [...known].sort().join(", ") || "none";
    throw new MeshError("MESH_CONFIG_NAMESPACE", `no pod is in namespace ${name}; namespaces with pods: ${there}`);
  }
  return { kind: "namespace", namespace: name };
}

export function inScope(scope: RehearsalScope, workload: Pick<Workload, "uid" | "namespace">): boolean {
  switch (scope.kind) {
    case "mesh":
      return true;
    case "namespace":
      return workload.namespace === scope.namespace;
    case "workloads":
      return scope.pods.some(({ uid }) => uid === workload.uid);
  }
}

export const rehearsed = "(rehearsal)";

/**
 * The mode of the workload's port with a STRICT object of the scope, in place of what is on that level now. Narrower objects stay as
 * they are: an exception goes on being one.
 */
export function modeUnderStrict(
  view: MeshView,
  scope: RehearsalScope,
  workload: Workload,
  port: number,
): EffectiveMode {
  const { rootNamespace } = view.settings;
  if (!inScope(scope, workload)) return view.inboundMode(workload, port);
  if (scope.kind === "workloads") {
    // An object for the workload itself replaces its mode; ports with one of their own keep it.
    const now = view.inboundMode(workload, port);
    const ownPort = [...view.peerAuthentications()].some(
      ({ namespace, name, portModes }) =>
        `${namespace}/${name}` === now.policy && (portModes.get(port) ?? "UNSET") !== "UNSET",
    );
    return ownPort ? now : { mode: "STRICT", policy: rehearsed };
  }
  const namespace = scope.kind === "mesh" ? rootNamespace : scope.namespace;
  const strict: PeerAuthentication = {
    name: rehearsed,
    namespace,
    createdAt: 0,
    matchLabels: undefined,
    mode: "STRICT",
    portModes: new Map(),
  };
  const isReplaced = ({ namespace: of, matchLabels }: PeerAuthentication) =>
    of === namespace && (matchLabels === undefined || matchLabels.size === 0);
  const others = [...view.peerAuthentications()].filter((policy) => !isReplaced(policy));
  const { mode, policy } = modeOfPort(compileModes([strict, ...others], workload, rootNamespace), port);
  return { mode, policy: policy === `${namespace}/${rehearsed}` ? rehearsed : policy };
}
