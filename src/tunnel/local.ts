/**
 * Local: both ends are captured by this agent, and it may join them without TLS (`localTraffic: auto`). The client is known by the
 * netns that its connection was accepted in, which is what its certificate would be used for; the destination is asked as if the
 * connection had come through a tunnel; then its application is dialled from inside its own netns. So plaintext exists on the two pods'
 * own loopback devices and nowhere between them. Packets that leave no netns are seen by no network plugin: where a NetworkPolicy
 * selects either pod, the tunnel is used.
 */
import { ipFamily } from "../lib/ip.ts";
import type { SocketAddress } from "../model/address.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshView } from "../model/mesh.ts";
import type { LocalPod, Workload, WorkloadUid } from "../model/workload.ts";
import { deliver } from "./delivery.ts";
import type { DialVerdict, RefuseVerdict } from "./verdict.ts";

/** What the driver knows about the pods that it drives. */
export interface LocalPods {
  /** The captured pod of a workload. */
  pod(workload: WorkloadUid): LocalPod | undefined;
  /** The agent holds a certificate for it: what a tunnel would need, nothing less is asked of local traffic. */
  proven(identity: Identity): boolean;
}

/** Two pods of this node, and the address that the first one's connection went to. */
export interface LocalPair {
  readonly client: LocalPod;
  readonly server: LocalPod;
  readonly destination: SocketAddress;
}

/** The pod to join to, if the connection may stay on this node at all. */
export function localServer(
  view: MeshView,
  pods: LocalPods,
  client: Workload,
  { workload, destination }: { readonly workload: Workload; readonly destination: SocketAddress },
): LocalPod | undefined {
  if (view.settings.localTraffic !== "auto") return undefined;
  const server = pods.pod(workload.uid);
  // Address and identity of the captured pod, not of what the mesh says about it now: they can be a moment apart.
  if (server?.identity !== workload.identity || !server.addresses.includes(destination.address)) return undefined;
  if (!pods.proven(client.identity) || !pods.proven(server.identity)) return undefined;
  return view.networkPolicySelects(client) || view.networkPolicySelects(workload) ? undefined : server;
}

/**
 * What the destination says, asked as a CONNECT from the client would ask. Undefined when this pair must use the tunnel, for a new
 * connection also when the answer is no, or hangs on requests: the tunnel's far end refuses, and judges requests, where it is told.
 */
export function judgeLocal(view: MeshView, pods: LocalPods, pair: LocalPair): DialVerdict | RefuseVerdict | undefined {
  const { client, server, destination } = pair;
  const source = view.workload(client.workload);
  const workload = view.workload(server.workload);
  if (source?.identity !== client.identity || workload === undefined) return undefined;
  if (localServer(view, pods, source, { workload, destination }) === undefined) return undefined;
  const family = ipFamily(destination.address);
  const sourceAddress = client.addresses.find((address) => ipFamily(address) === family);
  if (sourceAddress === undefined) return undefined;
  const arrival = {
    pod: server,
    workload,
    source,
    peer: client.identity,
    sourceAddress,
    dependsOn: ["destination"] as const,
  };
  const verdict = deliver(view, arrival, destination, "enforced");
  switch (verdict.kind) {
    case "dial":
      return { ...verdict, destinations: new Map([[destination.address, workload]]), from: server.uid, local: true };
    case "hand-over":
      return { ...verdict, kind: "refuse" };
    case "refuse":
      return verdict;
  }
}
