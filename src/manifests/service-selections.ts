/**
 * Which pods the Services of one namespace select, kept up to date as either side changes: a pod that comes or goes costs the Services
 * that want one of its labels, and a Service knows its pods without a look at all others.
 */
import { isDeepStrictEqual } from "node:util";
import { labelsMatch } from "../lib/labels.ts";
import type { PodPiece } from "./translate/pod.ts";

type Labels = ReadonlyMap<string, string>;

interface Selection {
  readonly selector: Labels;
  /** By name, so that a pod keeps its place among the others when it changes. */
  readonly pods: Map<string, PodPiece>;
}

const nobody: ReadonlyMap<string, PodPiece> = new Map();

export class ServiceSelections {
  readonly #services = new Map<string, Selection>();
  /** Services by one `key=value` that they want. */
  readonly #byLabel = new Map<string, Set<string>>();

  get empty(): boolean {
    return this.#services.size === 0;
  }

  selected(service: string): ReadonlyMap<string, PodPiece> {
    return this.#services.get(service)?.pods ?? nobody;
  }

  /** `pods`: all of the namespace, looked at only when the selector is a new one. Undefined selects nobody, as a Service without one does. */
  setService(name: string, selector: Labels | undefined, pods: Iterable<PodPiece>): void {
    const before = this.#services.get(name);
    if (isDeepStrictEqual(before?.selector, selector)) return;
    if (before !== undefined) this.#forget(name, before);
    if (selector === undefined) return;
    const selected = new Map<string, PodPiece>();
    for (const pod of pods) if (labelsMatch(selector, pod.labels)) selected.set(pod.name, pod);
    this.#services.set(name, { selector, pods: selected });
    const label = leadLabel(selector);
    this.#byLabel.set(label, (this.#byLabel.get(label) ?? new Set()).add(name));
  }

  /** A pod as it was and as it is, undefined for not there. Returns the Services that selected it or select it now. */
  podChanged(before: PodPiece | undefined, now: PodPiece | undefined): ReadonlySet<string> {
    const changed = new Set<string>();
    for (const name of this.#wanting(before?.labels)) {
      if (now === undefined || !labelsMatch(this.#services.get(name)?.selector, now.labels)) {
        if (this.#services.get(name)?.pods.delete(before?.name ?? "") === true) changed.add(name);
      }
    }
    for (const name of this.#wanting(now?.labels)) {
      const selection = this.#services.get(name);
      if (now === undefined || selection === undefined || !labelsMatch(selection.selector, now.labels)) continue;
      selection.pods.set(now.name, now);
      changed.add(name);
    }
    return changed;
  }

  *#wanting(labels: Labels | undefined): Iterable<string> {
    for (const [key, value] of labels ?? []) yield* this.#byLabel.get(`${key}=${value}`) ?? [];
  }

  #forget(name: string, { selector }: Selection): void {
    this.#services.delete(name);
    const label = leadLabel(selector);
    const names = this.#byLabel.get(label);
    names?.delete(name);
    if (names?.size === 0) this.#byLabel.delete(label);
  }
}

/** Some label that every selected pod has. */
function leadLabel(selector: Labels): string {
  const [[key, value] = ["", ""]] = selector;
  return `${key}=${value}`;
}
