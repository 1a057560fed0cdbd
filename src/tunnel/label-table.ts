/**
 * Labels by number: who talks to whom, as decided. A decision carries its label's number, closing records and listings bring it
 * back, also for flows that the engine decided alone; so nobody tells when a label's last flow has begun. What is known: labels of
 * older epochs get no new flows. They are dropped once a listing of open flows, and a second one later, no longer names them: between
 * the two every closing record that was on its way has been delivered. Numbers are never used twice.
 */
import type { SocketAddress } from "../model/address.ts";
import type { ShadowMatch } from "../model/authorization.ts";
import type { FlowLabel } from "../model/flow-label.ts";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import type { RefuseVerdict, VerdictBase } from "./verdict.ts";

export const unlabelled: FlowLabel = {
  source: undefined,
  destination: undefined,
  service: undefined,
  policy: "",
  shadow: [],
};

interface Entry {
  readonly source: Workload | undefined;
  readonly destinations: ReadonlyMap<string, Workload>;
  readonly service: Service | undefined;
  readonly policy: string;
  readonly shadow: readonly ShadowMatch[];
  readonly local: boolean;
  epoch: number;
  /** Not named by the last listing. */
  doubted: boolean;
  /** Made on demand, one per destination. */
  readonly resolved: Map<Workload | undefined, FlowLabel>;
}

/** The labels of one epoch by what they say. */
type Interned = Map<string, number>;

export class LabelTable {
  readonly #entries = new Map<number, Entry>();
  readonly #limit: number;
  #interned: Interned = new Map();
  #epoch = 0;
  #next = 1;

  /** Over `limit` live labels further ones say nothing (`unlabelled`): memory stays bounded, traffic goes on. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** From here on new labels are made; those of before are only looked up. */
  advance(epoch: number): void {
    this.#epoch = epoch;
    this.#interned = new Map();
  }

  /** The number of the verdict's label; 0 when the table is full. */
  intern(verdict: VerdictBase): number {
    const key = keyOf(verdict);
    const known = this.#interned.get(key);
    if (known !== undefined) return known;
    if (this.#entries.size >= this.#limit) return 0;
    const label = this.#next;
    this.#next += 1;
    this.#entries.set(label, {
      source: verdict.source,
      destinations: verdict.destinations,
      service: verdict.service,
      policy: verdict.policy,
      shadow: verdict.shadow,
      local: verdict.local === true,
      epoch: this.#epoch,
      doubted: false,
      resolved: new Map(),
    });
    this.#interned.set(key, label);
    return label;
  }

  /** The label as it applies to a flow that went to `target`. */
  resolve(label: number, target: SocketAddress | undefined): FlowLabel {
    const entry = this.#entries.get(label);
    if (entry === undefined) return unlabelled;
    const destination =
      (target === undefined ? undefined : entry.destinations.get(target.address)) ?? onlyOne(entry.destinations);
    let resolved = entry.resolved.get(destination);
    if (resolved === undefined) {
      const { source, service, policy, shadow, local } = entry;
      resolved = { source, destination, service, policy, shadow, ...(local ? { local } : {}) };
      entry.resolved.set(destination, resolved);
    }
    return resolved;
  }

  /** True when labels of older epochs are worth a look through the open flows. */
  get wantsSweep(): boolean {
    return this.#entries.size > 2 * this.#interned.size + 64;
  }

  /** `live` are the labels that a listing of open flows just named. Call again later to drop what stays unnamed. */
  sweep(live: ReadonlySet<number>): void {
    for (const [label, entry] of this.#entries) {
      if (entry.epoch === this.#epoch) continue;
      if (live.has(label)) entry.doubted = false;
      else if (entry.doubted) this.#entries.delete(label);
      else entry.doubted = true;
    }
  }
}

/** The one workload that all addresses belong to, if it is one: a refused or failed flow never had a target. */
function onlyOne(destinations: ReadonlyMap<string, Workload>): Workload | undefined {
  let one: Workload | undefined;
  for (const workload of destinations.values()) {
    if (one !== undefined && one !== workload) return undefined;
    one = workload;
  }
  return one;
}

/** Within an epoch a uid names one value of a workload, and a service key one value of a service. */
function keyOf(verdict: VerdictBase): string {
  const { source, destinations, service, policy, shadow, local } = verdict;
  const reached = [...destinations].map(([address, workload]) => `${address}=${workload.uid}`);
  const shadows = shadow.map((match) => `${match.action} ${match.policy}`);
  const way = local === true ? "local" : "";
  const named = [way, source?.uid ?? "", service?.namespace ?? "", service?.hostname ?? "", policy];
  return [...named, ...shadows, ...reached].join("|");
}

/** A flow cut by a policy change is told with the policy that cut it. */
export function relabel(label: FlowLabel, closedFor: RefuseVerdict | undefined): FlowLabel {
  if (closedFor === undefined) return label;
  return { ...label, policy: closedFor.policy, shadow: closedFor.shadow };
}
