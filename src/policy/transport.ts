/** What is refused for how it came (in plaintext, through a tunnel) or for whom the mesh has shut out, before any AuthorizationPolicy. */
import type { AuthorizationRequest } from "../model/authorization.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { Workload } from "../model/workload.ts";

export interface TransportRefusal {
  readonly reason: Reason;
  /** `namespace/name` of the PeerAuthentication that decided, empty when none did. */
  readonly policy: string;
}

export function refusedByTransport(
  view: MeshView,
  workload: Workload,
  { peer, destination }: Pick<AuthorizationRequest, "peer" | "destination">,
): TransportRefusal | undefined {
  const { mode, policy } = view.inboundMode(workload, destination.port);
  if (peer === "") return mode === "STRICT" ? { reason: "strict-plaintext", policy } : undefined;
  if (view.settings.deniedIdentities.includes(peer)) return { reason: "certificate-revoked", policy: "" };
  return mode === "DISABLE" ? { reason: "tunnel-disabled", policy } : undefined;
}
