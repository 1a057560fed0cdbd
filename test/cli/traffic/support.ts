/** Rows as agents send them, with what most tests do not care about filled in. */
import type { SeenPeer, SeenRow, SeenSockets } from "../../../src/cli/traffic/gather.ts";
import { MeshIndex } from "../../../src/mesh/mesh-index.ts";
import type { Workload } from "../../../src/model/workload.ts";
import { settings, workload } from "../../mesh/build.ts";

export const start = Date.UTC(2026, 0, 1);

export const api = workload("api", "10.0.2.1", { node: "n2" });
export const web = workload("web", "10.0.1.1");
export const stranger = workload("job", "10.0.1.9", { namespace: "outside", tunnel: "none" });
export const batch = workload("batch", "10.0.1.7", { tunnel: "none", labels: { "warren.dev/mode": "none" } });
export const exporter = workload("exporter", "", {
  namespace: "outside",
  tunnel: "none",
  hostNetwork: true,
  addresses: [],
  hostAddresses: ["192.168.0.1"],
});

export function meshOf(change: Parameters<MeshIndex["apply"]>[0] = {}): MeshIndex {
  const mesh = new MeshIndex(settings);
  mesh.apply({ workloads: [api, web, stranger, batch, exporter], ...change });
  return mesh;
}

export function peerOf(of: Workload | string): SeenPeer {
  if (typeof of === "string") {
    return {
      workload: "",
      namespace: "",
      name: "",
      owner: "",
      address: of,
      identity: "",
      enrolled: false,
      hostNode: "",
    };
  }
  const { uid, namespace, name, owner, addresses, tunnel } = of;
  return {
    workload: uid,
    namespace,
    name,
    owner: `${owner.kind}/${owner.name}`,
    address: addresses[0] ?? "",
    identity: "",
    enrolled: tunnel === "hbone",
    hostNode: "",
  };
}

/** Plaintext from `peer` to the api's 8080, as the api's agent saw it. */
export function row(peer: SeenPeer, change: Partial<SeenRow> = {}): SeenRow {
  return {
    node: "n2",
    podUid: "uid-api",
    namespace: "shop",
    pod: "api",
    workload: api.uid,
    direction: "inbound",
    port: 8080,
    security: "none",
    peer,
    service: "",
    connections: 3,
    refused: 0,
    open: 0,
    bytesSent: 30,
    bytesReceived: 60,
    connectionsTotal: 3,
    refusedTotal: 0,
    firstSeen: start,
    lastSeen: start + 1000,
    lastReason: "",
    lastPolicy: "",
    lastDetail: "",
    ...change,
  };
}

export function sockets(change: Partial<SeenSockets> = {}): SeenSockets {
  return {
    node: "n2",
    podUid: "uid-api",
    namespace: "shop",
    pod: "api",
    workload: api.uid,
    listening: [],
    uncarried: [],
    error: "",
    ...change,
  };
}
