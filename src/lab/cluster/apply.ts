/** What `apply` and `delete` mean for objects that are there already. */
import { MeshError } from "../../lib/errors.ts";
import { beginDeletion } from "./controllers.ts";
import { isGoing } from "./deployments.ts";
import type { ClusterObject, Pod, Service } from "./objects.ts";
import type { ObjectStore } from "./store.ts";

/** Takes all objects or none. */
export function applyObjects(store: ObjectStore, objects: readonly ClusterObject[]): void {
  const merged = objects.map((object) => merge(store, object));
  for (const object of merged) store.put(object);
}

/** A new version of an object, with what the cluster filled in on the old one. */
function merge(store: ObjectStore, object: ClusterObject): ClusterObject {
  const { kind, metadata } = object;
  const known = store.get(kind, metadata.namespace, metadata.name);
  if (known === undefined) return object;
  const status = known["status"] === undefined ? {} : { status: known["status"] };
  if (kind === "Pod") return mergePod(known as Pod, object as Pod);
  if (kind === "Service") return { ...keepAddresses(known as Service, object as Service), ...status };
  if (kind === "Namespace" || kind === "Deployment") return { ...object, ...status };
  return object;
}

function mergePod(known: Pod, next: Pod): Pod {
  const { name, namespace } = next.metadata;
  if (isGoing(known))
    throw new MeshError(
      "MESH_LAB_CONFLICT",
      `pod ${namespace}/${name} is being deleted; apply it again when it is gone`,
    );
  const { nodeName: given, ...wanted } = next.spec;
  const { nodeName, ...running } = known.spec;
  if ((given !== undefined && given !== nodeName) || JSON.stringify(wanted) !== JSON.stringify(running))
    throw new MeshError(
      "MESH_LAB_CONFLICT",
      `the spec of pod ${namespace}/${name} cannot change while it runs; delete the pod, then apply it`,
    );
  const { uid, creationTimestamp, ownerReferences } = known.metadata;
  return { ...known, metadata: { ownerReferences, ...next.metadata, uid, creationTimestamp } };
}

/** A Service keeps its addresses unless its manifest asks for others. */
function keepAddresses(known: Service, next: Service): Service {
  if (next.spec.clusterIP !== undefined || known.spec.clusterIP === "None") return next;
  const { clusterIP, clusterIPs } = known.spec;
  return { ...next, spec: { ...next.spec, ...(clusterIP && { clusterIP }), ...(clusterIPs && { clusterIPs }) } };
}

export function deleteObject(store: ObjectStore, kind: string, namespace: string | undefined, name: string): void {
  const object = store.get(kind, namespace, name);
  if (object === undefined)
    throw new MeshError(
      "MESH_LAB_NOT_FOUND",
      `there is no ${kind} ${namespace === undefined ? "" : `${namespace}/`}${name} in the lab; see: warren lab status`,
    );
  if (kind === "Pod") beginDeletion(store, object as Pod);
  else store.delete(kind, namespace, name);
  if (kind !== "Namespace") return;
  for (const inside of store.all()) {
    if (inside.metadata.namespace !== name) continue;
    if (inside.kind === "Pod") beginDeletion(store, inside as Pod);
    else store.delete(inside.kind, name, inside.metadata.name);
  }
}

/** New values by label; null takes a label away. */
export type LabelChanges = Readonly<Record<string, string | null>>;

export function labelObject(store: ObjectStore, object: ClusterObject, labels: LabelChanges): void {
  const next: Record<string, string> = { ...object.metadata.labels };
  for (const [key, value] of Object.entries(labels)) {
    if (value === null) delete next[key];
    else next[key] = value;
  }
  store.put({ ...object, metadata: { ...object.metadata, labels: next } });
}
