/**
 * One pod's way into the mesh and out of it. The pod is found, captured, handed to the engine and probed; after that it is checked
 * again and again, because redirection that was right once can be lost. All of it is one loop that compares what is with what is
 * wanted, so a change that comes in the middle of something is seen when that something is done.
 *
 * Order matters twice. Coming in: the listeners exist and listen before traffic is steered to them (`Capture.enrol`), and the engine
 * takes them at once. Going out: steering ends first, then the listeners, so that no connection meets a closed door.
 */

import type { BackendKind, Capture, CapturedPod } from "../capture/capture.ts";
import { abortable } from "../lib/abort.ts";
import { type BackoffOptions, backoffDelay } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { formatDuration } from "../lib/duration.ts";
import { MeshError, messageOf } from "../lib/errors.ts";
import type { Slots } from "../lib/slots.ts";
import type { Identity } from "../model/identity.ts";
import type { LocalPod } from "../model/workload.ts";
import type { PodSockets } from "../tunnel/driver.ts";

/** A network namespace that was found for a pod, by a path that is good until `close`, and what the kernel knows it by. */
export interface FoundNetns {
  readonly path: string;
  readonly dev: bigint;
  readonly ino: bigint;
  /** Whether the process that it was found by still runs in it: a cheap look that spares the search. Good after `close` too. */
  stillHeld(): Promise<boolean>;
  close(): void;
}

export interface PodEnrolmentDeps {
  readonly capture: Pick<Capture, "enrol" | "probe" | "update" | "release">;
  /** Rejects when the pod's namespace is not there (yet). */
  readonly findNetns: (pod: LocalPod) => Promise<FoundNetns>;
  readonly tunnels: {
    addPod(local: LocalPod, sockets: PodSockets): void;
    updatePod(local: LocalPod): void;
    removePod(uid: string, options: { graceMs: number }): Promise<void>;
  };
  readonly certificates: { hold(identity: Identity): () => void };
  /** Closes a descriptor that nobody took over. */
  readonly closeDescriptor: (fd: number) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly slots: Slots;
  readonly log: EnrolmentLog;
  readonly metrics: {
    enrolled(backend: string, seconds: number): void;
    enrolmentFailed(code: string): void;
    probed(result: "ok" | "failed"): void;
  };
}

export interface EnrolmentLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface PodEnrolmentOptions {
  readonly backend: BackendKind | undefined;
  readonly retry: BackoffOptions;
  readonly verifyMs: number;
  readonly timeoutMs: number;
  /** Open connections of a pod that leaves may go on this long. */
  readonly graceMs: number;
}

/** `pending`: not captured yet. `failed`: the last attempt failed, another follows. `doubtful`: captured, but the last check failed. */
export type PodState = "pending" | "captured" | "doubtful" | "failed" | "leaving";

/** A line of the listing. */
export interface PodRow {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly identity: Identity;
  readonly addresses: readonly string[];
  readonly state: PodState;
  readonly backend: BackendKind | undefined;
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
  readonly #stopping = new AbortController();
  #wanted: LocalPod | undefined;
  /** The last pod that was wanted, for names in logs and listings. */
  #known: LocalPod;
  /** What capture and engine were last told. */
  #applied: LocalPod | undefined;
  #captured: CapturedPod | undefined;
  #stillHeld: FoundNetns["stillHeld"] = async () => false;
  /** Capture was asked for this pod, so there may be traces of it, whatever the answer was. */
  #touched = false;
  #everCaptured = false;
  #state: PodState = "pending";
  #capturedAt: number | undefined;
  #verifiedAt: number | undefined;
  #failures = 0;
  #lastError = "";
  #certificate: { readonly identity: Identity; readonly release: () => void } | undefined;
  #wake = Promise.withResolvers<void>();
  readonly #attempted = Promise.withResolvers<void>();
  #done: Promise<void> = Promise.resolve();

  constructor(deps: PodEnrolmentDeps, options: PodEnrolmentOptions, pod: LocalPod) {
    this.#deps = deps;
    this.#options = options;
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

  /** Whether this agent ever captured the pod, and so knows what it has to undo. */
  get everCaptured(): boolean {
    return this.#everCaptured;
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

  row(): PodRow {
    const { uid, namespace, name, identity, addresses } = this.#known;
    const netns = this.#captured?.netns;
    return {
      uid,
      namespace,
      name,
      identity,
      addresses,
      state: this.#state,
      backend: this.#captured?.backend,
      netns: netns && { ino: netns.ino, cookie: netns.cookie },
      capturedAt: this.#capturedAt,
      verifiedAt: this.#verifiedAt,
      failures: this.#failures,
      lastError: this.#lastError,
    };
  }

  async #run(after: Promise<unknown>): Promise<void> {
    const { signal } = this.#stopping;
    try {
      await abortable(after, signal).catch(() => {});
      while (!signal.aborted && (this.#wanted !== undefined || this.#touched)) {
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
        await this.#leave();
        return 0;
      }
      this.#holdCertificate(pod.identity);
      const applied = this.#applied;
      if (applied === undefined || steeredOtherwise(pod, applied))
        await this.#attempt((signal) => this.#enter(pod, signal));
      else if (changed(pod, applied)) await this.#attempt((signal) => this.#change(pod, signal));
      else if (clock.now() >= this.#verifyDue()) await this.#attempt((signal) => this.#verify(pod, signal));
      this.#failures = 0;
      this.#lastError = "";
      return Math.max(1, this.#verifyDue() - clock.now());
    } catch (error) {
      if (this.#stopping.signal.aborted) return 0;
      this.#failures++;
      this.#lastError = messageOf(error);
      if (pod !== undefined) this.#state = this.#captured === undefined ? "failed" : "doubtful";
      const code = error instanceof MeshError ? error.code : "MESH_INTERNAL";
      const retryMs = Math.round(backoffDelay(this.#failures, this.#options.retry, random()));
      metrics.enrolmentFailed(code);
      const what = pod === undefined ? "cannot leave the mesh yet" : "is not in the mesh as it should be";
      log.warn({ ...names(this.#known), code, attempt: this.#failures, retryMs }, `pod ${what}: ${messageOf(error)}`);
      return retryMs;
    }
  }

  #verifyDue(): number {
    // After a failed check the next one is due at once; the backoff after the failure is the pause between them.
    return this.#state === "doubtful" ? 0 : (this.#verifiedAt ?? 0) + this.#options.verifyMs;
  }

  /** A pod's certificate is asked for before the pod is captured, so that its first connection need not wait for it. */
  #holdCertificate(identity: Identity): void {
    if (this.#certificate?.identity === identity) return;
    const before = this.#certificate;
    this.#certificate = { identity, release: this.#deps.certificates.hold(identity) };
    before?.release();
  }

  /** One attempt at a time for a few pods at a time, each within the timeout. */
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

  async #enter(pod: LocalPod, signal: AbortSignal): Promise<void> {
    const { clock, log, metrics } = this.#deps;
    const started = clock.now();
    const { backend } = await this.#withNetns(pod, (netns) => this.#take(pod, netns, signal));
    await this.#probe(pod, signal);
    const tookMs = clock.now() - started;
    metrics.enrolled(backend, tookMs / 1000);
    log.info({ ...names(pod), backend, addresses: pod.addresses.join(","), tookMs }, "pod is in the mesh");
  }

  async #withNetns<T>(pod: LocalPod, work: (netns: FoundNetns) => Promise<T>): Promise<T> {
    const netns = await this.#deps.findNetns(pod);
    this.#stillHeld = () => netns.stillHeld();
    try {
      return await work(netns);
    } finally {
      netns.close();
    }
  }

  /** From capture to the engine without a pause in between: what the listeners have queued meanwhile is accepted there. */
  async #take(pod: LocalPod, netns: FoundNetns, signal: AbortSignal): Promise<CapturedPod> {
    const { capture, tunnels, clock, closeDescriptor } = this.#deps;
    const { backend } = this.#options;
    this.#touched = true;
    const captured = await capture.enrol(
      {
        uid: pod.uid,
        netnsPath: netns.path,
        addresses: pod.addresses,
        failOpen: pod.failOpen,
        // The kubelet may share its cgroup with other things: only what it says it probes is exempt.
        probePorts: pod.probePorts,
        ...(backend === undefined ? {} : { backend }),
      },
      signal,
    );
    try {
      tunnels.addPod(pod, captured);
    } catch (error) {
      // Nobody will accept on these listeners: close them, and steer nothing to where nobody is.
      for (const { fd } of captured.listeners) closeDescriptor(fd);
      this.#captured = undefined;
      this.#applied = undefined;
      await capture.release(pod.uid);
      throw error;
    }
    this.#captured = captured;
    this.#everCaptured = true;
    this.#applied = pod;
    this.#state = "captured";
    this.#capturedAt ??= clock.now();
    return captured;
  }

  async #probe({ uid }: LocalPod, signal: AbortSignal): Promise<void> {
    const { capture, clock, metrics } = this.#deps;
    try {
      await capture.probe(uid, signal);
    } catch (error) {
      metrics.probed("failed");
      throw error;
    }
    metrics.probed("ok");
    this.#verifiedAt = clock.now();
    this.#state = "captured";
  }

  async #change(pod: LocalPod, signal: AbortSignal): Promise<void> {
    const { capture, tunnels, log } = this.#deps;
    await capture.update(pod.uid, pod.addresses);
    tunnels.updatePod(pod);
    this.#applied = pod;
    log.info({ ...names(pod), addresses: pod.addresses.join(","), identity: pod.identity }, "pod changed");
    await this.#probe(pod, signal);
  }

  /**
   * Is what was captured still the pod, and does its traffic still come here? A sandbox that was made anew has the pod's uid and
   * another namespace; the old one lives on only because our listeners hold it, and probing it would prove nothing.
   */
  async #verify(pod: LocalPod, signal: AbortSignal): Promise<void> {
    const { log } = this.#deps;
    if (!(await this.#stillHeld()) && (await this.#moved(pod, signal))) return this.#probe(pod, signal);
    try {
      return await this.#probe(pod, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn(names(pod), `redirection is lost and set up again: ${messageOf(error)}`);
    }
    await this.#withNetns(pod, (netns) => this.#take(pod, netns, signal));
    return this.#probe(pod, signal);
  }

  /** Searches for the pod's namespace anew, and moves the capture when it is another one. */
  #moved(pod: LocalPod, signal: AbortSignal): Promise<boolean> {
    const { capture, log } = this.#deps;
    return this.#withNetns(pod, async (netns) => {
      const held = this.#captured?.netns;
      if (held === undefined || (held.ino === netns.ino && held.dev === netns.dev)) return false;
      log.warn({ ...names(pod), was: String(held.ino), is: String(netns.ino) }, "pod has another network namespace");
      await capture.release(pod.uid);
      this.#applied = undefined;
      await this.#take(pod, netns, signal);
      return true;
    });
  }

  async #leave(): Promise<void> {
    const { capture, tunnels, log } = this.#deps;
    this.#state = "leaving";
    await capture.release(this.uid);
    this.#applied = undefined;
    // Listeners close at once; open connections get their time without holding up whoever comes next.
    tunnels.removePod(this.uid, { graceMs: this.#options.graceMs }).catch((error: unknown) => {
      log.warn(names(this.#known), `the pod's connections did not end as they should: ${messageOf(error)}`);
    });
    this.#captured = undefined;
    this.#touched = false;
    this.#state = "pending";
    this.#capturedAt = undefined;
    this.#verifiedAt = undefined;
    log.info(names(this.#known), "pod left the mesh");
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

function names({ uid, namespace, name }: LocalPod): { pod: string; uid: string } {
  return { pod: `${namespace}/${name}`, uid };
}
