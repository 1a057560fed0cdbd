/** One request on a flow that was handed over: everything that a new connection would be asked, and the request with it. */
import type { AuthorizationVerdict, HttpRequestFacts } from "../model/authorization.ts";
import type { MeshView } from "../model/mesh.ts";
import type { LocalPod } from "../model/workload.ts";
import { refusedByTransport } from "../policy/transport.ts";
import type { HandedFlow } from "./driver.ts";

export function judgeRequest(
  view: MeshView,
  pod: LocalPod | undefined,
  { peer, source, destination }: HandedFlow,
  http: HttpRequestFacts,
): AuthorizationVerdict {
  const workload = pod && view.workload(pod.workload);
  // The pod has left the mesh: nothing tells any more what may reach it.
  if (workload === undefined) return { outcome: "deny", reason: "pod-removed", policy: "", rule: -1, shadow: [] };
  const request = { peer, sourceAddress: source.address, destination, http };
  const refused = refusedByTransport(view, workload, request);
  if (refused !== undefined) return { outcome: "deny", ...refused, rule: -1, shadow: [] };
  return view.authorize(workload, request);
}
