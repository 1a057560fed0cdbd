/** The lab's API server: the objects of the cluster, by key, and who wants to know when they change. Objects are never changed in place. */
import { randomUUID } from "node:crypto";
import type { ClusterObject, ConfigMap, Deployment, EndpointSlice, Pod, ReplicaSet, Service } from "./objects.ts";

interface Kinds {
  Pod: Pod;
  Deployment: Deployment;
  ReplicaSet: ReplicaSet;
  Service: Service;
  EndpointSlice: EndpointSlice;
  ConfigMap: ConfigMap;
}

export class ObjectStore {
  readonly #kinds = new Map<string, Map<string, ClusterObject>>();
  readonly #listeners = new Set<() => void>();

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Puts an object under its key. A new one gets a UID and its creation time; one that replaces another keeps those. */
  put(object: ClusterObject): void {
    const { kind, metadata } = object;
    const objects = this.#kinds.get(kind) ?? new Map<string, ClusterObject>();
    this.#kinds.set(kind, objects);
    const key = keyOf(metadata.namespace, metadata.name);
    const known = objects.get(key)?.metadata;
    objects.set(key, {
      ...object,
      metadata: {
        ...metadata,
        uid: metadata.uid ?? known?.uid ?? randomUUID(),
        creationTimestamp: metadata.creationTimestamp ?? known?.creationTimestamp ?? timestamp(new Date()),
      },
    });
    this.#changed();
  }

  delete(kind: string, namespace: string | undefined, name: string): boolean {
    const existed = this.#kinds.get(kind)?.delete(keyOf(namespace, name)) ?? false;
    if (existed) this.#changed();
    return existed;
  }

  get<K extends keyof Kinds>(kind: K, namespace: string | undefined, name: string): Kinds[K] | undefined;
  get(kind: string, namespace: string | undefined, name: string): ClusterObject | undefined;
  get(kind: string, namespace: string | undefined, name: string): ClusterObject | undefined {
    return this.#kinds.get(kind)?.get(keyOf(namespace, name));
  }

  /** Objects of a kind, in the order they came. What is stored under one of these kinds has passed its schema. */
  list<K extends keyof Kinds>(kind: K): Kinds[K][] {
    return [...(this.#kinds.get(kind)?.values() ?? [])] as Kinds[K][];
  }

  *all(): Iterable<ClusterObject> {
    for (const objects of this.#kinds.values()) yield* objects.values();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function keyOf(namespace: string | undefined, name: string): string {
  return `${namespace ?? ""}/${name}`;
}

/** A time as the Kubernetes API writes it: whole seconds. */
export function timestamp(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}
