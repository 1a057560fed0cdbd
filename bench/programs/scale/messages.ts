/** What the processes of the scale bench tell each other. Times are of the machine's monotonic clock, which all of them share. */
import { createHistogram, monitorEventLoopDelay } from "node:perf_hooks";

export interface ClusterSize {
  readonly workloads: number;
  readonly policies: number;
  readonly localPods: number;
}

export interface ClusterRequest {
  readonly size: ClusterSize;
  /** For kubeconfig and token. */
  readonly folder: string;
}

export type ToCluster =
  | { readonly kind: "make"; readonly request: ClusterRequest }
  /** Replaces this share of the pods, once. */
  | { readonly kind: "churn"; readonly share: number }
  /** Writes the probe's policy anew. */
  | { readonly kind: "probe"; readonly number: number };

export type FromCluster =
  | { readonly kind: "made"; readonly kubeconfig: string; readonly token: string }
  | { readonly kind: "churned"; readonly pods: number }
  | { readonly kind: "written"; readonly number: number; readonly at: number };

export interface AgentRequest {
  readonly built: boolean;
  readonly args: readonly string[];
}

export type ToAgent =
  | { readonly kind: "start"; readonly request: AgentRequest }
  | { readonly kind: "count" }
  | WatcherQuestion;

export type FromAgent =
  | { readonly kind: "started"; readonly loadMs: number }
  | { readonly kind: "count"; readonly workloads: number; readonly pods: number }
  /** A probe is in force, open flows judged. */
  | { readonly kind: "enforced"; readonly number: number; readonly at: number }
  | WatcherAnswer;

/** Asks for what was seen since it was asked last. */
export interface WatcherQuestion {
  readonly kind: "loop";
}

/** How long the loop was held up: by the clock, where other processes on the processors count, and by the processor time of one turn. */
export interface WatcherAnswer {
  readonly kind: "loop";
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly p99CpuMs: number;
  readonly maxCpuMs: number;
  /** Monotonic times at which the longest turns ended, longest first: where to look in a profile. */
  readonly longest: readonly { readonly at: number; readonly cpuMs: number; readonly ms: number }[];
}

export const probePolicy = { namespace: "scale-0", name: "probe" } as const;
export const scaleNode = "scale-node";

export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

const resolutionMs = 1;
const shownTurns = 5;

/** Answers questions about this process's event loop over the channel to its parent. Returns what forgets all that was seen so far. */
export function watchLoop(): () => void {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  const turns = watchTurns();
  process.on("message", (message: { kind?: string }) => {
    if (message.kind !== "loop") return;
    // The timer's own period is part of what the histogram records.
    const shown = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolutionMs);
    const clock = { p99Ms: shown(delay.percentile(99)), maxMs: shown(delay.max) };
    process.send?.({ kind: "loop", ...clock, ...turns() } satisfies WatcherAnswer);
    delay.reset();
  });
  return () => {
    turns();
    delay.reset();
  };
}

/** A timer that is due fires once in each turn: the processor time between two of its calls is what one turn took, but for idling. */
function watchTurns(): () => Pick<WatcherAnswer, "p99CpuMs" | "maxCpuMs" | "longest"> {
  const microseconds = createHistogram();
  let longest: { at: number; cpuMs: number; ms: number }[] = [];
  let before = { at: monotonicMs(), cpu: threadMicroseconds() };
  setInterval(() => {
    const now = { at: monotonicMs(), cpu: threadMicroseconds() };
    const took = now.cpu - before.cpu;
    const turn = { at: now.at, cpuMs: took / 1000, ms: now.at - before.at };
    before = now;
    microseconds.record(Math.max(1, took));
    if (longest.length === shownTurns && turn.cpuMs <= (longest.at(-1)?.cpuMs ?? 0)) return;
    longest.push(turn);
    longest = longest.sort((one, other) => other.cpuMs - one.cpuMs).slice(0, shownTurns);
  }, resolutionMs).unref();
  return () => {
    const seen = { p99CpuMs: microseconds.percentile(99) / 1000, maxCpuMs: microseconds.max / 1000, longest };
    microseconds.reset();
    longest = [];
    before = { at: monotonicMs(), cpu: threadMicroseconds() };
    return seen;
  };
}

function threadMicroseconds(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}

/** Processes of a bench that outlive it would serve nobody. */
export function endWithParent(): void {
  process.once("disconnect", () => process.exit());
}
