/** Why a connection went in clear, in words that say what would have to change for it to be encrypted. */
import type { FlowLabel } from "../model/flow-label.ts";
import type { FlowRole } from "./flow-record.ts";

export type PlaintextCause =
  | "client-outside-mesh"
  | "client-not-enrolled"
  | "client-sent-plaintext"
  | "destination-outside-mesh"
  | "destination-not-enrolled"
  | "tunnel-disabled";

export function plaintextCause(role: FlowRole, label: FlowLabel): PlaintextCause {
  if (role === "outbound") {
    if (label.destination === undefined) return "destination-outside-mesh";
    return label.destination.tunnel === "none" ? "destination-not-enrolled" : "tunnel-disabled";
  }
  if (label.source === undefined) return "client-outside-mesh";
  // An enrolled client reaches us in clear only where PeerAuthentication is DISABLE, or when its capture is not in place.
  return label.source.tunnel === "none" ? "client-not-enrolled" : "client-sent-plaintext";
}
