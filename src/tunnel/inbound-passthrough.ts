/** Inbound plaintext: a connection to an enrolled pod that came without a tunnel, accepted on 15006. It has no identity. */
import type { SocketAddress } from "../model/address.ts";
import type { MeshView } from "../model/mesh.ts";
import { isMeshPort } from "../model/ports.ts";
import type { LocalPod } from "../model/workload.ts";
import { deliver, refuser } from "./delivery.ts";
import { type HttpStance, hold, type Verdict } from "./verdict.ts";

export interface PlaintextArrival {
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
}

const dependsOn = ["source-address", "destination"] as const;

export function decidePlaintext(
  view: MeshView,
  pod: LocalPod,
  { source, destination }: PlaintextArrival,
  http: HttpStance,
): Verdict {
  const workload = view.workload(pod.workload);
  if (workload === undefined) return hold;
  const arrival = {
    pod,
    workload,
    source: view.workloadByAddress(source.address),
    peer: "" as const,
    sourceAddress: source.address,
    dependsOn,
  };
  if (isMeshPort(destination.port)) return refuser(arrival)("illegal-port");
  return deliver(view, arrival, destination, http);
}
