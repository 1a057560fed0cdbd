/** A workload that people name, as the agents' filters name it: by its pod, or by its owner as `Kind/name`. */
import type { MeshView } from "../../model/mesh.ts";
import { checkNamespace, findWorkloads } from "../query/workload-reference.ts";

export interface Party {
  readonly namespace: string;
  readonly workload: string;
}

/** Found in the mesh, so that a wrong name is told instead of waited for. */
export function partyOf(view: MeshView, reference: string, namespace: string): Party {
  const [, space] = /^(?:ns|namespace)\/(.+)$/.exec(reference) ?? [];
  if (space !== undefined) {
    checkNamespace(view, space);
    return { namespace: space, workload: "" };
  }
  const found = findWorkloads(view, reference, namespace);
  const [first] = found;
  if (first === undefined) return { namespace, workload: reference };
  const { owner } = first;
  const named = reference.slice(reference.indexOf("/") + 1);
  const asPod = found.length === 1 && (named === first.name || named === `${first.name}.${first.namespace}`);
  return { namespace: first.namespace, workload: asPod ? first.name : `${owner.kind}/${owner.name}` };
}
