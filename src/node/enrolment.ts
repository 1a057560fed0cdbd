/**
 * Keeps the captured pods of this node equal to the ones the mesh wants: one loop for each pod (`pod-enrolment.ts`), started when it
 * is wanted and told when it is not. After the first complete state what earlier agents left behind and nobody wants is removed.
 */

import type { Capture } from "../capture/capture.ts";
import { backoffDelay } from "../lib/backoff.ts";
import { messageOf } from "../lib/errors.ts";
import type { LocalPod } from "../model/workload.ts";
import { PodEnrolment, type PodEnrolmentDeps, type PodEnrolmentOptions, type PodRow } from "./pod-enrolment.ts";

export interface EnrolmentDeps extends Omit<PodEnrolmentDeps, "capture"> {
  readonly capture: PodEnrolmentDeps["capture"] & Pick<Capture, "collectGarbage">;
  /** Pods that the mesh wants on this node, read at each reconciliation. */
  readonly wantedPods: () => Iterable<LocalPod>;
}

export class Enrolment {
  readonly #deps: EnrolmentDeps;
  readonly #options: PodEnrolmentOptions;
  readonly #pods = new Map<string, PodEnrolment>();
  /** The keys of `#pods`, as a set of its own that capture can look into while pods come and go. */
  readonly #live = new Set<string>();
  #cancelCollection: (() => void) | undefined;
  #stopped = false;

  constructor(deps: EnrolmentDeps, options: PodEnrolmentOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /**
   * Call when the first complete state is in force. Resolves when each pod wanted by then has had its first attempt: a pod that
   * can't be captured goes on being tried, but must not keep the whole node from becoming ready.
   */
  async start(): Promise<void> {
    this.reconcile();
    const first = [...this.#pods.values()];
    void this.#collect(1);
    await Promise.all(first.map((pod) => pod.attempted));
  }

  /** Compares what is wanted with what is; call after each change of the mesh. */
  reconcile(): void {
    if (this.#stopped) return;
    const wanted = new Map<string, LocalPod>();
    for (const pod of this.#deps.wantedPods()) wanted.set(pod.uid, pod);
    for (const [uid, pod] of this.#pods) if (!wanted.has(uid)) pod.want(undefined);
    for (const [uid, pod] of wanted) {
      const existing = this.#pods.get(uid);
      if (existing === undefined) this.#add(pod);
      else existing.want(pod);
    }
  }

  rows(): PodRow[] {
    return Array.from(this.#pods.values(), (pod) => pod.row());
  }

  /**
   * Ends all loops. With `release` every pod is taken out of the mesh first, as far as the deadline allows; without, redirection
   * stays for the next agent.
   */
  async stop(options: { release: boolean; deadlineMs: number }): Promise<void> {
    this.#stopped = true;
    this.#cancelCollection?.();
    const pods = [...this.#pods.values()];
    if (options.release) {
      for (const pod of pods) pod.want(undefined);
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const cancel = this.#deps.clock.after(options.deadlineMs, resolve);
      await Promise.race([Promise.all(pods.map((pod) => pod.done)), late]);
      cancel();
    }
    await Promise.all(pods.map((pod) => pod.stop()));
  }

  #add(pod: LocalPod): void {
    const sameName = [...this.#pods.values()].filter((other) => {
      const row = other.row();
      return row.name === pod.name && row.namespace === pod.namespace;
    });
    const enrolment = new PodEnrolment(this.#deps, this.#options, pod);
    this.#pods.set(pod.uid, enrolment);
    this.#live.add(pod.uid);
    enrolment.start(Promise.all(sameName.map((other) => other.done)));
    void enrolment.done.then(() => {
      if (this.#pods.get(pod.uid) === enrolment && !this.#stopped) this.#forget(enrolment);
    });
  }

  /** A pod can be wanted again while it is leaving; then it comes back as a new one. */
  #forget({ uid, everCaptured }: PodEnrolment): void {
    this.#pods.delete(uid);
    this.#live.delete(uid);
    this.reconcile();
    // What an earlier agent left of a pod that this one never managed to adopt is known to nobody but its pins.
    if (!everCaptured) void this.#collect(1);
  }

  async #collect(attempt: number): Promise<void> {
    const { capture, log, clock, random } = this.#deps;
    this.#cancelCollection?.();
    try {
      const removed = await capture.collectGarbage(this.#live);
      if (removed.length > 0) log.info({ uids: removed.join(",") }, "removed what an earlier agent left behind");
    } catch (error) {
      const retryMs = Math.round(backoffDelay(attempt, this.#options.retry, random()));
      log.warn({ attempt, retryMs }, `leftovers of earlier agents could not be removed: ${messageOf(error)}`);
      if (!this.#stopped) this.#cancelCollection = clock.after(retryMs, () => void this.#collect(attempt + 1));
    }
  }
}
