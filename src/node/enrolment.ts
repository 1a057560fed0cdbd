/**
 * Keeps the captured pods of this node equal to the ones the mesh wants: one loop for each pod (`pod-enrolment.ts`), started when it
 * is wanted and told when it is not. After the first complete state, and from then on once in a while, what is left of pods that
 * nobody wants is removed: earlier agents' pins, and those of pods whose end this agent missed.
 *
 * A container runtime with our CNI plugin announces sandboxes before their pods have an address in the cluster. Whether such a pod is
 * wanted still only the mesh says; the announcement adds where its netns is and which addresses it was given.
 */

import type { Capture } from "../capture/capture.ts";
import { backoffDelay } from "../lib/backoff.ts";
import { messageOf } from "../lib/errors.ts";
import type { LocalPod } from "../model/workload.ts";
import type { FoundNetns } from "./pod-capture.ts";
import { PodEnrolment, type PodEnrolmentDeps, type PodEnrolmentOptions, type PodRow } from "./pod-enrolment.ts";

/** What the container runtime told of a pod that it is about to start. */
export interface AnnouncedSandbox {
  readonly uid: string;
  readonly container: string;
  readonly netnsPath: string;
  readonly addresses: readonly string[];
}

export interface EnrolmentDeps extends Omit<PodEnrolmentDeps, "capture" | "findNetns" | "metrics"> {
  readonly capture: PodEnrolmentDeps["capture"] & Pick<Capture, "collectGarbage">;
  /** Rejects when the pod's namespace is not there (yet). `announced`: where the container runtime says that it is. */
  readonly findNetns: (pod: LocalPod, announced: string | undefined) => Promise<FoundNetns>;
  readonly metrics: PodEnrolmentDeps["metrics"] & { leftoversRemoved(count: number): void };
  /** Pods that the mesh wants on this node, read at each reconciliation. */
  readonly wantedPods: () => Iterable<LocalPod>;
}

export interface EnrolmentOptions extends PodEnrolmentOptions {
  /** Between looks for what nobody wants. */
  readonly collectMs: number;
}

const doubtEveryMs = 1000;

export class Enrolment {
  readonly #deps: EnrolmentDeps;
  readonly #options: EnrolmentOptions;
  readonly #pods = new Map<string, PodEnrolment>();
  /** The keys of `#pods`, as a set of its own that capture can look into while pods come and go. */
  readonly #live = new Set<string>();
  /** By pod uid. */
  readonly #announced = new Map<string, AnnouncedSandbox>();
  /** Pods whose sandbox the runtime took down; the cluster tells of their end later. */
  readonly #departed = new Set<string>();
  #cancelCollection: (() => void) | undefined;
  #stopped = false;

  constructor(deps: EnrolmentDeps, options: EnrolmentOptions) {
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
    const wanted = this.#wanted();
    for (const [uid, pod] of this.#pods) if (!wanted.has(uid)) pod.want(undefined);
    for (const [uid, pod] of wanted) {
      const existing = this.#pods.get(uid);
      if (existing === undefined) this.#add(pod);
      else existing.want(pod);
    }
  }

  /** The runtime made a sandbox for a pod. A pod that is captured elsewhere moves there at once. */
  announce(sandbox: AnnouncedSandbox): void {
    const { uid } = sandbox;
    const before = this.#announced.get(uid);
    this.#announced.set(uid, sandbox);
    this.#departed.delete(uid);
    const known = this.#pods.get(uid);
    this.reconcile();
    if (known !== undefined && before?.container !== sandbox.container) known.recheck();
  }

  /** The runtime takes a sandbox down. */
  withdraw(uid: string, container: string): void {
    const announced = [...this.#announced.values()].find((sandbox) => sandbox.container === container);
    if (announced === undefined) {
      // Announced to an earlier agent, or an old sandbox of a pod that has a new one: worth a look, no more.
      this.#pods.get(uid)?.recheck();
      return;
    }
    this.#announced.delete(announced.uid);
    this.#departed.add(announced.uid);
    this.reconcile();
  }

  /**
   * Resolves when the pod is captured and probed, and at once if it is not wanted. Rejects when that is not so by the time of the signal, with
   * the last failure if there was one, and at once when no further attempt would help.
   */
  async captured(uid: string, signal: AbortSignal): Promise<void> {
    await this.#pods.get(uid)?.whenCaptured(signal);
  }

  /** Looks now whether the pod is where it was found; does nothing for one that is not wanted. */
  recheck(uid: string): void {
    this.#pods.get(uid)?.recheck();
  }

  /** Something of a captured pod's redirection may be lost: the kernel met no listener for it. */
  doubt(cookie: bigint): void {
    const now = this.#deps.clock.now();
    for (const pod of this.#pods.values()) {
      const { netns, verifiedAt = now } = pod.row();
      // A pod that has lost its listeners raises this with every connection.
      if (netns?.cookie === cookie && now - verifiedAt >= doubtEveryMs) pod.recheck();
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

  /** What the mesh wants, as far as it is known where: a pod has no address before its sandbox has. */
  #wanted(): Map<string, LocalPod> {
    const wanted = new Map<string, LocalPod>();
    const named = new Set<string>();
    for (const pod of this.#deps.wantedPods()) {
      named.add(pod.uid);
      const addresses = pod.addresses.length > 0 ? pod.addresses : (this.#announced.get(pod.uid)?.addresses ?? []);
      if (addresses.length > 0 && !this.#departed.has(pod.uid)) wanted.set(pod.uid, { ...pod, addresses });
    }
    for (const uid of this.#departed) if (!named.has(uid)) this.#departed.delete(uid);
    return wanted;
  }

  #add(pod: LocalPod): void {
    const sameName = [...this.#pods.values()].filter((other) => other.isNamed(pod));
    const findNetns = (asked: LocalPod) => this.#deps.findNetns(asked, this.#announced.get(asked.uid)?.netnsPath);
    const enrolment = new PodEnrolment({ ...this.#deps, findNetns }, this.#options, pod);
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
    const { capture, log, clock, random, metrics } = this.#deps;
    this.#cancelCollection?.();
    let next = { inMs: this.#options.collectMs, attempt: 1 };
    try {
      const removed = await capture.collectGarbage(this.#live);
      metrics.leftoversRemoved(removed.length);
      if (removed.length > 0) log.info({ uids: removed.join(",") }, "removed what was left of pods that are gone");
    } catch (error) {
      next = { inMs: Math.round(backoffDelay(attempt, this.#options.retry, random())), attempt: attempt + 1 };
      const fields = { attempt, retryMs: next.inMs };
      log.warn(fields, `what is left of pods that are gone could not be removed: ${messageOf(error)}`);
    }
    this.#cancelCollection?.();
    if (!this.#stopped) this.#cancelCollection = clock.after(next.inMs, () => void this.#collect(next.attempt));
  }
}
