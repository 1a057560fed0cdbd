/**
 * What is done to one pod, step by step: find its netns, capture it, hand its sockets to the engine, probe the real path, and undo
 * all of that. When to do which is `pod-enrolment.ts`'s.
 *
 * Order matters twice. Coming in: the listeners exist and listen before traffic is steered to them (`Capture.enrol`), and the engine
 * takes them at once. Going out: steering ends first, then the listeners, so that no connection meets a closed door.
 */
import type { BackendKind, Capture, CapturedPod } from "../capture/capture.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
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

export interface PodCaptureDeps {
  readonly capture: Pick<Capture, "enrol" | "probe" | "update" | "release">;
  /** Rejects when the pod's namespace is not there (yet). */
  readonly findNetns: (pod: LocalPod) => Promise<FoundNetns>;
  readonly tunnels: {
    addPod(local: LocalPod, sockets: PodSockets): void;
    updatePod(local: LocalPod): void;
    removePod(uid: string, options: { graceMs: number }): Promise<void>;
  };
  /** Closes a descriptor that nobody took over. */
  readonly closeDescriptor: (fd: number) => void;
  readonly clock: Clock;
  readonly log: EnrolmentLog;
  readonly metrics: {
    enrolled(backend: string, seconds: number): void;
    probed(result: "ok" | "failed"): void;
    /** What was found otherwise than it was left, and is as it should be again. */
    repaired(what: "redirection" | "netns"): void;
  };
}

export interface EnrolmentLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface PodCaptureOptions {
  readonly backend: BackendKind | undefined;
  /** Open connections of a pod that leaves may go on this long. */
  readonly graceMs: number;
}

/** What is in force for a pod. */
interface InForce {
  readonly captured: CapturedPod;
  /** What capture and engine were last told. */
  readonly applied: LocalPod;
}

export class PodCapture {
  readonly #deps: PodCaptureDeps;
  readonly #options: PodCaptureOptions;
  #inForce: InForce | undefined;
  #stillHeld: FoundNetns["stillHeld"] = async () => false;
  #touched = false;
  #ever = false;
  #capturedAt: number | undefined;
  #verifiedAt: number | undefined;

  constructor(deps: PodCaptureDeps, options: PodCaptureOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get inForce(): InForce | undefined {
    return this.#inForce;
  }

  /** Capture was asked for this pod, so there may be traces of it, whatever the answer was. */
  get touched(): boolean {
    return this.#touched;
  }

  /** Whether the pod was ever captured here, so that this agent knows what there is to undo. */
  get ever(): boolean {
    return this.#ever;
  }

  /** Unix times in milliseconds. */
  get times(): { readonly capturedAt: number | undefined; readonly verifiedAt: number | undefined } {
    return { capturedAt: this.#capturedAt, verifiedAt: this.#verifiedAt };
  }

  async enter(pod: LocalPod, signal: AbortSignal): Promise<void> {
    const { clock, log, metrics } = this.#deps;
    const started = clock.now();
    const { backend } = await this.#withNetns(pod, (netns) => this.#take(pod, netns, signal));
    await this.#probe(pod, signal);
    const tookMs = clock.now() - started;
    metrics.enrolled(backend, tookMs / 1000);
    log.info({ ...podFields(pod), backend, addresses: pod.addresses.join(","), tookMs }, "pod is in the mesh");
  }

  /** New addresses or another identity, in place. */
  async change(pod: LocalPod, signal: AbortSignal): Promise<void> {
    const { capture, tunnels, log } = this.#deps;
    await capture.update(pod.uid, pod.addresses);
    tunnels.updatePod(pod);
    if (this.#inForce !== undefined) this.#inForce = { ...this.#inForce, applied: pod };
    const { identity, addresses } = pod;
    log.info({ ...podFields(pod), addresses: addresses.join(","), identity }, "pod changed");
    await this.#probe(pod, signal);
  }

  /**
   * Is what was captured still the pod, and does its traffic still come here? A sandbox that was made anew has the pod's uid and
   * another namespace; the old one lives on only because our listeners hold it, and probing it would prove nothing.
   */
  async verify(pod: LocalPod, signal: AbortSignal): Promise<void> {
    if (await this.#stillHeld()) return this.#confirm(pod, signal);
    return this.relocate(pod, signal);
  }

  /** As `verify`, with the search for the namespace in any case: there may be another one although the old one still is. */
  async relocate(pod: LocalPod, signal: AbortSignal): Promise<void> {
    if (await this.#moved(pod, signal)) return this.#probe(pod, signal);
    return this.#confirm(pod, signal);
  }

  /** Probes the path, and sets redirection up again when it is lost. */
  async #confirm(pod: LocalPod, signal: AbortSignal): Promise<void> {
    const { log, metrics } = this.#deps;
    try {
      return await this.#probe(pod, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn(podFields(pod), `redirection is lost and set up again: ${messageOf(error)}`);
    }
    await this.#withNetns(pod, (netns) => this.#take(pod, netns, signal));
    await this.#probe(pod, signal);
    metrics.repaired("redirection");
  }

  async leave(pod: LocalPod): Promise<void> {
    const { capture, tunnels, log } = this.#deps;
    await capture.release(pod.uid);
    this.#inForce = undefined;
    this.#touched = false;
    this.#capturedAt = undefined;
    this.#verifiedAt = undefined;
    // Listeners close at once; open connections get their time without holding up whoever comes next.
    tunnels.removePod(pod.uid, { graceMs: this.#options.graceMs }).catch((error: unknown) => {
      log.warn(podFields(pod), `the pod's connections did not end as they should: ${messageOf(error)}`);
    });
    log.info(podFields(pod), "pod left the mesh");
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
    const { uid, addresses, failOpen, probePorts } = pod;
    this.#touched = true;
    const captured = await capture.enrol(
      // The kubelet may share its cgroup with other things: only the ports that it says it probes are exempt.
      { uid, netnsPath: netns.path, addresses, failOpen, probePorts, ...(backend === undefined ? {} : { backend }) },
      signal,
    );
    try {
      tunnels.addPod(pod, captured);
    } catch (error) {
      // Nobody will accept on these listeners: close them, and steer nothing to where nobody is.
      for (const { fd } of captured.listeners) closeDescriptor(fd);
      this.#inForce = undefined;
      await capture.release(uid);
      throw error;
    }
    this.#inForce = { captured, applied: pod };
    this.#ever = true;
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
  }

  /** Searches for the pod's namespace anew, and moves the capture when it is another one. */
  #moved(pod: LocalPod, signal: AbortSignal): Promise<boolean> {
    const { capture, log, metrics } = this.#deps;
    return this.#withNetns(pod, async (netns) => {
      const held = this.#inForce?.captured.netns;
      if (held === undefined || (held.ino === netns.ino && held.dev === netns.dev)) return false;
      log.warn(
        { ...podFields(pod), was: String(held.ino), is: String(netns.ino) },
        "pod has another network namespace",
      );
      await capture.release(pod.uid);
      this.#inForce = undefined;
      await this.#take(pod, netns, signal);
      metrics.repaired("netns");
      return true;
    });
  }
}

/** How a pod is named in each line about it. */
export function podFields({ uid, namespace, name }: LocalPod): { readonly pod: string; readonly uid: string } {
  return { pod: `${namespace}/${name}`, uid };
}
