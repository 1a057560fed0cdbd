/**
 * One pod's time in the mesh: a loop that compares what is wanted with what is in force and does the next step (`pod-capture.ts`),
 * again after a pause when it failed, and once in a while when all is well, because redirection that was right once can be lost.
 * A change that comes in the middle of a step is seen when the step is done.
 */
import type { CapturedBy } from "../capture/capture.ts";
import { abortable } from "../lib/abort.ts";
import { type BackoffOptions, backoffDelay } from "../lib/backoff.ts";
import { formatDuration } from "../lib/duration.ts";
import { MeshError, messageOf } from "../lib/errors.ts";
import type { Slots } from "../lib/slots.ts";
import type { Identity } from "../model/identity.ts";
import type { LocalPod } from "../model/workload.ts";
import { PodCapture, type PodCaptureDeps, type PodCaptureOptions, podFields } from "./pod-capture.ts";

export interface PodEnrolmentDeps extends PodCaptureDeps {
  readonly certificates: { hold(identity: Identity): () => void };
  readonly random: () => number;
  readonly slots: Slots;
  readonly metrics: PodCaptureDeps["metrics"] & { enrolmentFailed(code: string): void };
}

export interface PodEnrolmentOptions extends PodCaptureOptions {
  readonly retry: BackoffOptions;
  readonly verifyMs: number;
  readonly timeoutMs: number;
}

/** `pending`: not captured and probed yet. `failed`: the last attempt failed, another follows. `doubtful`: captured, but the last check failed. */
export type PodState = "pending" | "captured" | "doubtful" | "failed" | "leaving";

/** A line of the listing. */
export interface PodRow {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly identity: Identity;
  readonly addresses: readonly string[];
  readonly state: PodState;
  readonly backend: CapturedBy | undefined;
  readonly netns: { readonly ino: bigint; readonly cookie: bigint } | undefined;
  /** Unix times in milliseconds. */
  readonly capturedAt: number | undefined;
  readonly verifiedAt: number | undefined;
  readonly failures: number;
  readonly lastError: string;
}

export class PodEnrolment {
  readonly uid: string;
  readonly #deps: PodEnrolmentDeps;
  readonly #options: PodEnrolmentOptions;
  readonly #capture: PodCapture;
  readonly #stopping = new AbortController();
  #wanted: LocalPod | undefined;
  /** The last pod that was wanted, for names in logs and listings. */
  #known: LocalPod;
  #failures = 0;
  #lastError = "";
  #lastFailure: unknown;
  /** Somebody has reason to doubt that all is as it was. */
  #doubted = false;
  readonly #waiting = new Set<{ resolve(): void; reject(error: unknown): void }>();
  #certificate: { readonly identity: Identity; readonly release: () => void } | undefined;
  #wake = Promise.withResolvers<void>();
  readonly #attempted = Promise.withResolvers<void>();
  #done: Promise<void> = Promise.resolve();

  constructor(deps: PodEnrolmentDeps, options: PodEnrolmentOptions, pod: LocalPod) {
    this.#deps = deps;
    this.#options = options;
    this.#capture = new PodCapture(deps, options);
    this.uid = pod.uid;
    this.#known = pod;
    this.#wanted = pod;
  }

  /** `after` is what must have gone first: an earlier pod of the same name, whose namespace and addresses this one may have. */
  start(after: Promise<unknown>): void {
    this.#done = this.#run(after);
  }

  /** What the mesh wants of this pod now; undefined takes it out. */
  want(pod: LocalPod | undefined): void {
    this.#wanted = pod;
    this.#known = pod ?? this.#known;
    this.#wake.resolve();
  }

  /** Looks now whether the pod is where it was and its traffic still comes here. */
  recheck(): void {
    this.#doubted = true;
    this.#wake.resolve();
  }

  /** See `Enrolment.captured`. */
  async whenCaptured(signal: AbortSignal): Promise<void> {
    if (this.#settled) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { resolve, reject };
    this.#waiting.add(waiter);
    try {
      await abortable(Promise.race([promise, this.#done]), signal);
    } catch (error) {
      throw signal.aborted && this.#failures > 0 ? this.#lastFailure : error;
    } finally {
      this.#waiting.delete(waiter);
    }
  }

  get #settled(): boolean {
    return this.#state === "captured" && !this.#doubted;
  }

  /** Whether this agent ever captured the pod, and so knows what it has to undo. */
  get everCaptured(): boolean {
    return this.#capture.ever;
  }

  /** Resolves when the first attempt has ended, well or badly. */
  get attempted(): Promise<void> {
    return this.#attempted.promise;
  }

  /** Resolves when the pod has left or the loop was stopped. */
  get done(): Promise<void> {
    return this.#done;
  }

  /** Ends the loop and leaves the capture in place, for the next agent to adopt. */
  async stop(): Promise<void> {
    this.#stopping.abort(new MeshError("MESH_STOPPED", "the agent is stopping"));
    await this.#done;
  }

  isNamed({ namespace, name }: Pick<LocalPod, "namespace" | "name">): boolean {
    return this.#known.name === name && this.#known.namespace === namespace;
  }

  row(): PodRow {
    const { uid, namespace, name, identity, addresses } = this.#known;
    const captured = this.#capture.inForce?.captured;
    return {
      uid,
      namespace,
      name,
      identity,
      addresses,
      state: this.#state,
      backend: captured?.backend,
      netns: captured && { ino: captured.netns.ino, cookie: captured.netns.cookie },
      ...this.#capture.times,
      failures: this.#failures,
      lastError: this.#lastError,
    };
  }

  get #state(): PodState {
    if (this.#wanted === undefined) return "leaving";
    if (this.#capture.inForce === undefined) return this.#failures > 0 ? "failed" : "pending";
    if (this.#failures > 0) return "doubtful";
    return this.#capture.times.verifiedAt === undefined ? "pending" : "captured";
  }

  async #run(after: Promise<unknown>): Promise<void> {
    const { signal } = this.#stopping;
    try {
      await abortable(after, signal).catch(() => {});
      while (!signal.aborted && (this.#wanted !== undefined || this.#capture.touched)) {
        // Made before looking, so that a change during the step wakes the wait that follows it.
        this.#wake = Promise.withResolvers<void>();
        const pause = await this.#step();
        this.#attempted.resolve();
        if (pause > 0 && !signal.aborted) await this.#sleep(pause);
      }
    } finally {
      this.#certificate?.release();
      this.#attempted.resolve();
    }
  }

  /** Does the next thing that is to be done, and returns how long there is nothing else to do. */
  async #step(): Promise<number> {
    const pod = this.#wanted;
    const { clock, random, log, metrics } = this.#deps;
    try {
      if (pod === undefined) {
        await this.#capture.leave(this.#known);
        return 0;
      }
      this.#holdCertificate(pod.identity);
      await this.#approach(pod);
      this.#failures = 0;
      this.#lastError = "";
      this.#lastFailure = undefined;
      if (this.#settled) for (const waiter of this.#waiting) waiter.resolve();
      return this.#doubted ? 0 : Math.max(1, this.#verifyDue() - clock.now());
    } catch (error) {
      if (this.#stopping.signal.aborted) return 0;
      this.#failures++;
      this.#lastError = messageOf(error);
      this.#lastFailure = error;
      const code = error instanceof MeshError ? error.code : "MESH_INTERNAL";
      const retryMs = Math.round(backoffDelay(this.#failures, this.#options.retry, random()));
      metrics.enrolmentFailed(code);
      if (finalCodes.has(code)) for (const waiter of this.#waiting) waiter.reject(error);
      const what = pod === undefined ? "cannot leave the mesh yet" : "is not in the mesh as it should be";
      const fields = { ...podFields(this.#known), code, attempt: this.#failures, retryMs };
      log.warn(fields, `pod ${what}: ${messageOf(error)}`);
      return retryMs;
    }
  }

  /** The step that brings what is in force nearer to what is wanted. */
  async #approach(pod: LocalPod): Promise<void> {
    const capture = this.#capture;
    const applied = capture.inForce?.applied;
    if (applied === undefined || steeredOtherwise(pod, applied)) {
      await this.#attempt((signal) => capture.enter(pod, signal));
    } else if (changed(pod, applied)) {
      await this.#attempt((signal) => capture.change(pod, signal));
    } else if (this.#doubted) {
      // Taken back before the look: a doubt that comes during it asks for another one.
      this.#doubted = false;
      try {
        await this.#attempt((signal) => capture.relocate(pod, signal));
      } catch (error) {
        this.#doubted = true;
        throw error;
      }
    } else if (this.#deps.clock.now() >= this.#verifyDue()) {
      await this.#attempt((signal) => capture.verify(pod, signal));
    }
  }

  #verifyDue(): number {
    // After a failed check the next one is due at once; the backoff after the failure is the pause between them.
    return this.#failures > 0 ? 0 : (this.#capture.times.verifiedAt ?? 0) + this.#options.verifyMs;
  }

  /** A pod's certificate is asked for before the pod is captured, so that its first connection need not wait for it. */
  #holdCertificate(identity: Identity): void {
    if (this.#certificate?.identity === identity) return;
    const before = this.#certificate;
    this.#certificate = { identity, release: this.#deps.certificates.hold(identity) };
    before?.release();
  }

  /** A few pods at a time, and each attempt within the timeout. */
  async #attempt(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { slots, clock } = this.#deps;
    const { timeoutMs } = this.#options;
    const stop = this.#stopping.signal;
    await slots.run(async () => {
      const late = new AbortController();
      const cancel = clock.after(timeoutMs, () =>
        late.abort(new MeshError("MESH_ENROLMENT_TIMEOUT", `no result within ${formatDuration(timeoutMs)}`)),
      );
      try {
        await work(AbortSignal.any([stop, late.signal]));
      } finally {
        cancel();
      }
    }, stop);
  }

  async #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#deps.clock.after(ms, resolve);
    try {
      await abortable(Promise.race([promise, this.#wake.promise]), this.#stopping.signal);
    } catch {
      // Only the stop signal ends the wait so, and the loop looks at it next.
    } finally {
      cancel();
    }
  }
}

/** Failures that come of what the sandbox is: only another sandbox would help. */
const finalCodes: ReadonlySet<string> = new Set(["MESH_WRONG_NETNS", "MESH_OTHER_MESH"]);

/** Differences that capture is told by capturing anew. */
function steeredOtherwise(pod: LocalPod, before: LocalPod): boolean {
  return pod.failOpen !== before.failOpen || pod.probePorts.join() !== before.probePorts.join();
}

/** Differences that capture and engine take in place. */
function changed(pod: LocalPod, before: LocalPod): boolean {
  return (
    pod.identity !== before.identity ||
    pod.addresses.length !== before.addresses.length ||
    pod.addresses.some((address) => !before.addresses.includes(address))
  );
}
