/** Node: where it stands, for Services that prefer endpoints near the client. */
import type { KubernetesObject } from "./metadata.ts";
import { ok, type Translation } from "./translation.ts";

export interface NodePiece {
  readonly name: string;
  /** Empty when the node does not say. */
  readonly region: string;
  readonly zone: string;
}

export function translateNode(object: KubernetesObject): Translation<NodePiece> {
  const { name, labels } = object.metadata;
  return ok({
    name,
    region: labels.get("topology.kubernetes.io/region") ?? "",
    zone: labels.get("topology.kubernetes.io/zone") ?? "",
  });
}
