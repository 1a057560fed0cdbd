/**
 * Decisions that the engine repeats alone. Each is kept under the values of the fields it depended on, per pod and role, and
 * counts only while it is not older than the current epoch of the mesh and of its pod.
 */
import type { Decision, Epoch, FlowRole, PodHandle, Remember, RememberField } from "../engine.ts";

/** The fields of an arrival that a decision can depend on. */
export interface ArrivalFields {
  readonly pod: PodHandle;
  readonly role: FlowRole;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  readonly peer: string;
  readonly authority: string;
}

interface Entry {
  readonly decision: Decision;
  readonly epoch: Epoch;
}

/** Entries of one pod and role, by the set of fields that they depend on. */
type Shelf = Map<string, { readonly fields: readonly RememberField[]; readonly entries: Map<string, Entry> }>;

export class RememberedDecisions {
  readonly #capacity: number;
  readonly #pods = new Map<PodHandle, Map<FlowRole, Shelf>>();
  readonly #podEpochs = new Map<PodHandle, Epoch>();
  #epoch: Epoch = 0;
  #size = 0;
  #hits = 0;

  /** Sources and destinations are the peers' choice, so what is kept about them is bounded: the oldest of a field set goes first. */
  constructor(options: { capacity: number }) {
    this.#capacity = options.capacity;
  }

  get size(): number {
    return this.#size;
  }

  get hits(): number {
    return this.#hits;
  }

  /** Ignored if the decision was made from an older state than the current one: it may be carried out once, but not repeated. */
  remember(arrival: ArrivalFields, decision: Decision, { fields, epoch }: Remember): void {
    if (epoch < this.#epochOf(arrival.pod)) return;
    const set = [...new Set(fields)].sort();
    const name = set.join(" ");
    const roles = getOrAdd(this.#pods, arrival.pod, () => new Map<FlowRole, Shelf>());
    const shelf = getOrAdd(roles, arrival.role, (): Shelf => new Map());
    const { entries } = getOrAdd(shelf, name, () => ({ fields: set, entries: new Map<string, Entry>() }));
    const key = keyOf(arrival, set);
    if (entries.delete(key)) this.#size -= 1;
    if (this.#size >= this.#capacity) {
      const oldest = entries.keys().next();
      if (oldest.done === true) return;
      entries.delete(oldest.value);
      this.#size -= 1;
    }
    entries.set(key, { decision, epoch });
    this.#size += 1;
  }

  /** The decision for flows like this one, if there is one that still holds. */
  recall(arrival: ArrivalFields): Decision | undefined {
    const shelf = this.#pods.get(arrival.pod)?.get(arrival.role);
    if (shelf === undefined) return undefined;
    const current = this.#epochOf(arrival.pod);
    for (const { fields, entries } of shelf.values()) {
      const entry = entries.get(keyOf(arrival, fields));
      if (entry !== undefined && entry.epoch >= current) {
        this.#hits += 1;
        return entry.decision;
      }
    }
    return undefined;
  }

  /** Everything older is gone when this returns. An epoch never goes back. */
  advance(epoch: Epoch, pod: PodHandle | undefined): void {
    if (pod === undefined) {
      this.#epoch = Math.max(this.#epoch, epoch);
      for (const handle of this.#pods.keys()) this.#dropStale(handle);
    } else {
      this.#podEpochs.set(pod, Math.max(this.#podEpochs.get(pod) ?? 0, epoch));
      this.#dropStale(pod);
    }
  }

  forgetPod(pod: PodHandle): void {
    for (const shelf of this.#pods.get(pod)?.values() ?? []) {
      for (const { entries } of shelf.values()) this.#size -= entries.size;
    }
    this.#pods.delete(pod);
    this.#podEpochs.delete(pod);
  }

  #epochOf(pod: PodHandle): Epoch {
    return Math.max(this.#epoch, this.#podEpochs.get(pod) ?? 0);
  }

  #dropStale(pod: PodHandle): void {
    const current = this.#epochOf(pod);
    for (const shelf of this.#pods.get(pod)?.values() ?? []) {
      for (const [name, { entries }] of shelf) {
        for (const [key, entry] of entries) {
          if (entry.epoch >= current) continue;
          entries.delete(key);
          this.#size -= 1;
        }
        if (entries.size === 0) shelf.delete(name);
      }
    }
  }
}

/** Values are separated by a byte that no address, identity or authority holds. */
function keyOf(arrival: ArrivalFields, fields: readonly RememberField[]): string {
  let key = "";
  for (const field of fields) key += `${fieldValue(arrival, field)}\0`;
  return key;
}

function fieldValue(arrival: ArrivalFields, field: RememberField): string {
  switch (field) {
    case "destination":
      return `${arrival.destinationAddress} ${arrival.destinationPort}`;
    case "destination-port":
      return String(arrival.destinationPort);
    case "source-address":
      return arrival.sourceAddress;
    case "peer-identity":
      return arrival.peer;
    case "authority":
      return arrival.authority;
  }
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
