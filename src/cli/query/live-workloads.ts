/** Workloads of the running mesh by the references that people write. */
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import type { Workload } from "../../model/workload.ts";
import type { MeshClient } from "./mesh-client.ts";
import { findWorkloads } from "./workload-reference.ts";

/** The pods that are meant, and the mesh they were found in. Throws a usage error that names what there is. */
export async function liveWorkloads(
  mesh: MeshClient,
  reference: string,
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<{ readonly view: MeshIndex; readonly workloads: readonly Workload[] }> {
  const view = await mesh.mesh(signal);
  return { view, workloads: findWorkloads(view, reference, namespace ?? mesh.defaultNamespace) };
}

/** `namespace/pod` of each. */
export async function podsOf(
  mesh: MeshClient,
  reference: string,
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const { workloads } = await liveWorkloads(mesh, reference, namespace, signal);
  return new Set(workloads.map((workload) => `${workload.namespace}/${workload.name}`));
}
