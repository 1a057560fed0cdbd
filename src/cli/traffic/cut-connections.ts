/** `enroll --cut`: closes the connections of newly enrolled pods that the mesh does not carry, so that they come back through it. */
import { MeshError } from "../../lib/errors.ts";
import type { AskOptions } from "../query/asked.ts";
import type { MeshClient } from "../query/mesh-client.ts";
import { gatherSockets } from "./gather.ts";

export interface CutResult {
  /** `namespace/pod` and how many of its connections were closed. */
  readonly pods: readonly { readonly pod: string; readonly closed: number; readonly error: string }[];
  readonly closed: number;
}

/** Of these pods (`namespace/name`), in whatever order agents answer. A kernel that closes no sockets of others is told as `error`. */
export async function cutUncarried(
  mesh: MeshClient,
  pods: ReadonlySet<string>,
  options: AskOptions,
  signal: AbortSignal,
): Promise<CutResult> {
  const found = await gatherSockets(mesh, options, signal);
  const named = new Map(
    found.pods.flatMap(({ podUid, namespace, pod, uncarried }) => {
      const name = `${namespace}/${pod}`;
      return pods.has(name) && uncarried.length > 0 ? [[podUid, name] as const] : [];
    }),
  );
  if (named.size === 0) return { pods: [], closed: 0 };
  const asked = mesh.ask({ case: "cutConnections", value: { podUids: [...named.keys()] } }, options, signal);
  const told: CutResult["pods"][number][] = [];
  for await (const { node, kind } of asked) {
    if (kind.case !== "connectionsCut") throw new MeshError("MESH_INSPECT_ANSWER", `${node} answered ${kind.case}`);
    const { podUid, closed, error } = kind.value;
    told.push({ pod: named.get(podUid) ?? podUid, closed: Number(closed), error });
  }
  return { pods: told, closed: told.reduce((sum, { closed }) => sum + closed, 0) };
}
