/**
 * What waits for slow readers, against the limits of tunnels, pods and the process. Looked over while something waits: near a limit the
 * tunnels concerned get narrower stream windows, above it the flows that hold most end. Whoever holds no more than an equal share is not
 * the cause, so that a greedy pod costs its own flows and never a neighbour's.
 */
import type { EngineContext } from "./context.ts";
import type { Flow } from "./flow.ts";
import type { Pod } from "./pod.ts";
import type { Tunnel } from "./tunnel.ts";

/** A flow that holds less needs no watching. */
export const worthWatching = 16 * 1024;
/** From the first waiting byte to the first look, and the most between looks. */
const lookMs = { shortest: 25, longest: 1000 };
/** Share of the thread's time that looking may take. */
const lookShare = 0.05;
/** Of a limit: from a half on windows are narrow, below a quarter they are wide again, and what was above it is brought below 7/8. */
const part = { pressed: 1 / 2, relaxed: 1 / 4, relieved: 7 / 8 };

interface Held {
  readonly flow: Flow;
  readonly bytes: number;
}

/** Bytes by whoever they are held for. */
class Account<Owner> {
  readonly #held = new Map<Owner, number>();

  of(owner: Owner): number {
    return this.#held.get(owner) ?? 0;
  }

  add(owner: Owner, bytes: number): void {
    this.#held.set(owner, this.of(owner) + bytes);
  }

  owners(): Owner[] {
    return [...this.#held.keys()];
  }
}

/** One look at everything that waits. */
class Weighing {
  readonly flows: Held[] = [];
  readonly tunnels = new Account<Tunnel>();
  readonly pods = new Account<Pod>();
  total = 0;

  add(flow: Flow, bytes: number): void {
    this.flows.push({ flow, bytes });
    this.#count(flow, bytes);
  }

  remove({ flow, bytes }: Held): void {
    this.#count(flow, -bytes);
  }

  #count(flow: Flow, bytes: number): void {
    this.total += bytes;
    this.pods.add(flow.pod, bytes);
    if (flow.tunnel !== undefined) this.tunnels.add(flow.tunnel, bytes);
  }
}

export class Backlog {
  readonly #context: EngineContext;
  readonly #pods: () => number;
  readonly #waiting = new Set<Flow>();
  readonly #narrow = new Set<Tunnel>();
  #last = new Weighing();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(context: EngineContext, deps: { pods: () => number }) {
    this.#context = context;
    this.#pods = deps.pods;
  }

  /** Bytes of the flow wait, or may soon. */
  watch(flow: Flow): void {
    this.#waiting.add(flow);
    this.#lookAfter(lookMs.shortest);
  }

  /** True while one more flow of the pod would have nowhere to put its bytes. */
  full(pod: Pod): boolean {
    const { memory, memoryPerPod } = this.#context.options.limits;
    return this.#last.total > memory || this.#last.pods.of(pod) > memoryPerPod;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #lookAfter(ms: number): void {
    if (this.#timer !== undefined || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const since = performance.now();
      this.#look();
      if (this.#waiting.size === 0 && this.#narrow.size === 0) return;
      const wanted = (performance.now() - since) / lookShare;
      this.#lookAfter(Math.min(lookMs.longest, Math.max(lookMs.shortest, wanted)));
    }, ms);
    this.#timer.unref();
  }

  #look(): void {
    const found = new Weighing();
    for (const flow of this.#waiting) {
      const bytes = flow.buffered;
      const over = flow.phase === "ended" || (flow.phase === "open" && bytes < worthWatching);
      if (over) this.#waiting.delete(flow);
      if (bytes > 0 && flow.phase !== "ended") found.add(flow, bytes);
    }
    this.#last = found;
    found.flows.sort((one, other) => other.bytes - one.bytes);
    this.#relieveTunnels(found);
    this.#relievePods(found);
    this.#relieveProcess(found);
    this.#setWindows(found);
  }

  #relieveTunnels(found: Weighing): void {
    const limit = this.#context.options.limits.memoryPerTunnel;
    for (const tunnel of found.tunnels.owners()) {
      if (found.tunnels.of(tunnel) <= limit) continue;
      const enough = () => found.tunnels.of(tunnel) <= limit * part.relieved;
      this.#relieve(found, (flow) => flow.tunnel === tunnel, "its tunnel is at its limit", enough);
    }
  }

  #relievePods(found: Weighing): void {
    const limit = this.#context.options.limits.memoryPerPod;
    for (const pod of found.pods.owners()) {
      if (found.pods.of(pod) <= limit) continue;
      const enough = () => found.pods.of(pod) <= limit * part.relieved;
      this.#relieve(found, (flow) => flow.pod === pod, "its pod is at its limit", enough);
    }
  }

  /** By pod first: many flows that hold little each may together be the cause. */
  #relieveProcess(found: Weighing): void {
    const limit = this.#context.options.limits.memory;
    const share = limit / Math.max(1, this.#pods());
    while (found.total > limit) {
      const [greediest] = found.pods.owners().sort((one, other) => found.pods.of(other) - found.pods.of(one));
      if (greediest === undefined || found.pods.of(greediest) < share) return;
      const enough = () => found.total <= limit || found.pods.of(greediest) < share;
      this.#relieve(found, (flow) => flow.pod === greediest, "the process is at its limit", enough);
    }
  }

  /** Ends those of the `concerned` that hold most until there is `enough` room. */
  #relieve(found: Weighing, concerned: (flow: Flow) => boolean, whose: string, enough: () => boolean): void {
    for (const held of found.flows) {
      if (enough()) return;
      const { flow, bytes } = held;
      if (flow.phase === "ended" || !concerned(flow)) continue;
      found.remove(held);
      this.#context.counters.shedTotal += 1;
      flow.end("limit-memory", `${bytes} bytes waited for a slow reader; ${whose}`);
    }
  }

  #setWindows(found: Weighing): void {
    const { memory, memoryPerPod, memoryPerTunnel } = this.#context.options.limits;
    const above = (tunnel: Tunnel, share: number) =>
      found.total > memory * share ||
      found.pods.of(tunnel.pod) > memoryPerPod * share ||
      found.tunnels.of(tunnel) > memoryPerTunnel * share;
    for (const tunnel of found.tunnels.owners()) {
      if (!this.#narrow.has(tunnel) && above(tunnel, part.pressed) && tunnel.setWindow("narrow")) {
        this.#narrow.add(tunnel);
      }
    }
    for (const tunnel of this.#narrow) {
      const over = tunnel.ending !== undefined || (!above(tunnel, part.relaxed) && tunnel.setWindow("full"));
      if (over) this.#narrow.delete(tunnel);
    }
  }
}
