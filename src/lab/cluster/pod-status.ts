/** A pod's status as the kubelet reports it, made from what its containers do. */
import type { Pod } from "./objects.ts";
import { timestamp } from "./store.ts";

export type ContainerState =
  | { readonly kind: "waiting"; readonly reason: string }
  | { readonly kind: "running"; readonly since: Date }
  | { readonly kind: "terminated"; readonly exitCode: number };

export interface ContainerReport {
  readonly name: string;
  readonly state: ContainerState;
  /** Running, started, and its readiness probe agrees. */
  readonly ready: boolean;
  readonly restarts: number;
}

export interface PodReport {
  readonly containers: readonly ContainerReport[];
  /** All init containers ended well; the others start after them. */
  readonly initialized: boolean;
  readonly addresses: readonly string[];
  readonly nodeAddresses: readonly string[];
  readonly startedAt: Date;
}

export type PodPhase = "Pending" | "Running" | "Succeeded" | "Failed";

export function isReady(pod: Pod): boolean {
  return (
    pod.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ?? false
  );
}

export function phaseOf(pod: Pod, containers: readonly ContainerReport[]): PodPhase {
  const ended = containers.flatMap(({ state }) => (state.kind === "terminated" ? [state.exitCode] : []));
  const policy = pod.spec.restartPolicy;
  const allEnded = containers.length > 0 && ended.length === containers.length;
  if (allEnded && policy !== "Always" && ended.every((code) => code === 0)) return "Succeeded";
  if (allEnded && policy === "Never") return "Failed";
  const begun = containers.some(({ state, restarts }) => state.kind !== "waiting" || restarts > 0);
  return begun ? "Running" : "Pending";
}

/** The whole status; conditions that did not change keep the time of their last change. */
export function statusOf(pod: Pod, report: PodReport, now: Date): NonNullable<Pod["status"]> {
  const phase = phaseOf(pod, report.containers);
  const ready = report.containers.length > 0 && report.containers.every((container) => container.ready);
  const verdicts = [
    ["PodScheduled", true],
    ["Initialized", report.initialized],
    ["ContainersReady", ready],
    ["Ready", ready],
  ] as const;
  const conditions = verdicts.map(([type, holds]) => {
    const status: "True" | "False" = holds ? "True" : "False";
    const before = pod.status?.conditions?.find((condition) => condition.type === type);
    const since = before?.status === status ? before["lastTransitionTime"] : undefined;
    return { type, status, lastTransitionTime: since ?? timestamp(now) };
  });
  const [podIP] = report.addresses;
  const [hostIP] = report.nodeAddresses;
  return {
    phase,
    conditions,
    ...(hostIP === undefined ? {} : { hostIP }),
    hostIPs: report.nodeAddresses.map((ip) => ({ ip })),
    ...(podIP === undefined ? {} : { podIP }),
    podIPs: report.addresses.map((ip) => ({ ip })),
    startTime: timestamp(report.startedAt),
    containerStatuses: report.containers.map((container) => ({
      name: container.name,
      ready: container.ready,
      restartCount: container.restarts,
      state: stateOf(container.state),
    })),
  };
}

function stateOf(state: ContainerState): Record<string, unknown> {
  switch (state.kind) {
    case "waiting":
      return { waiting: { reason: state.reason } };
    case "running":
      return { running: { startedAt: timestamp(state.since) } };
    case "terminated":
      return {
        terminated: { exitCode: state.exitCode, reason: state.exitCode === 0 ? "Completed" : "Error" },
      };
  }
}
