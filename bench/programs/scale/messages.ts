/** What the processes of the scale bench tell each other. Times are of the machine's monotonic clock, which all of them share. */
import { monitorEventLoopDelay } from "node:perf_hooks";

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

export interface WatcherAnswer {
  readonly kind: "loop";
  readonly p99Ms: number;
  readonly maxMs: number;
}

export const probePolicy = { namespace: "scale-0", name: "probe" } as const;
export const scaleNode = "scale-node";

export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

const resolutionMs = 1;

/** Answers questions about this process's event loop over the channel to its parent. */
export function watchLoop(): void {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  process.on("message", (message: { kind?: string }) => {
    if (message.kind !== "loop") return;
    // The timer's own period is part of what the histogram records.
    const shown = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolutionMs);
    const answer: WatcherAnswer = { kind: "loop", p99Ms: shown(delay.percentile(99)), maxMs: shown(delay.max) };
    delay.reset();
    process.send?.(answer);
  });
}

/** Processes of a bench that outlive it would serve nobody. */
export function endWithParent(): void {
  process.once("disconnect", () => process.exit());
}
