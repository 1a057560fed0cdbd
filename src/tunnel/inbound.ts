/**
 * Inbound HBONE: a CONNECT that arrived on 15008 of an enrolled pod. The identity is what the peer's certificate proved, never what
 * its address or headers say; the port that policy sees is the one inside the tunnel.
 */
import { parseHostPort } from "../lib/host-port.ts";
import { canonicalIp } from "../lib/ip.ts";
import type { SocketAddress } from "../model/address.ts";
import { equivalentIdentities, type Identity } from "../model/identity.ts";
import type { MeshView } from "../model/mesh.ts";
import { isMeshPort } from "../model/ports.ts";
import type { LocalPod } from "../model/workload.ts";
import { deliver, refuser } from "./delivery.ts";
import { type HttpStance, hold, type Verdict } from "./verdict.ts";

export interface ConnectRequest {
  readonly peer: Identity;
  /** The tunnel's TCP peer. */
  readonly source: SocketAddress;
  /** `host:port` as sent. */
  readonly authority: string;
}

const dependsOn = ["source-address", "peer-identity", "authority"] as const;

export function decideConnect(view: MeshView, pod: LocalPod, request: ConnectRequest, http: HttpStance): Verdict {
  const workload = view.workload(pod.workload);
  if (workload === undefined) return hold;
  const claimed = view.workloadByAddress(request.source.address);
  const arrival = {
    pod,
    workload,
    // An address whose pod has another identity tells nothing about the peer.
    source: claimed && isCalled(claimed.identity, request.peer, view) ? claimed : undefined,
    peer: request.peer,
    sourceAddress: request.source.address,
    dependsOn,
  };
  const refuse = refuser(arrival);
  const target = parseHostPort(request.authority);
  if (target === undefined || target.port === 0) return refuse("bad-authority");
  const address = canonicalIp(target.host);
  if (address === undefined || !pod.addresses.includes(address)) return refuse("not-this-pod");
  if (isMeshPort(target.port)) return refuse("illegal-port");
  return deliver(view, arrival, { address, port: target.port }, http);
}

function isCalled(identity: Identity, peer: Identity, { settings }: MeshView): boolean {
  return identity === peer || equivalentIdentities(identity, settings).includes(peer);
}
