/** The lab as others see it: plain values for tests, for the command line and for JSON. */
import { isGoing } from "./cluster/deployments.ts";
import type { Pod, Service } from "./cluster/objects.ts";
import { isReady } from "./cluster/pod-status.ts";
import type { PodRunner } from "./kubelet/pod-runner.ts";
import type { DaemonStatus } from "./mesh/mesh.ts";

export interface LabPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  /** IPv4 first; empty until the sandbox is there. */
  readonly ips: readonly string[];
  readonly phase: string;
  readonly ready: boolean;
  readonly going: boolean;
  readonly restarts: number;
  /** When its sandbox was made; another time means another sandbox. */
  readonly startedAt: string;
  /** The kubelet probes at least one of its containers. */
  readonly probed: boolean;
  /** Probes of its containers that succeeded so far. */
  readonly probeSuccesses: number;
  /** The pod's network namespace as a path, while it runs. */
  readonly netnsPath: string | undefined;
  /** Parent of the cgroups of the pod's containers. */
  readonly cgroup: string | undefined;
}

/** Named by its kind; without a namespace where its kind has none. */
export interface LabelledObject {
  readonly kind: "Namespace" | "Pod";
  readonly namespace: string;
  readonly name: string;
}

export interface LabStatus {
  readonly id: string;
  readonly folder: string;
  readonly nodes: readonly { readonly name: string; readonly ips: readonly string[] }[];
  readonly pods: readonly LabPod[];
  readonly services: readonly ServiceStatus[];
  readonly mesh: readonly DaemonStatus[];
}

export interface ServiceStatus {
  readonly namespace: string;
  readonly name: string;
  /** `None` when it is headless. */
  readonly ips: readonly string[];
  readonly ports: readonly number[];
}

export function describeService({ metadata, spec }: Service): ServiceStatus {
  const { namespace = "", name } = metadata;
  return { namespace, name, ips: spec.clusterIPs ?? [], ports: spec.ports.map(({ port }) => port) };
}

export function describePod(pod: Pod, runner: PodRunner | undefined): LabPod {
  const { metadata, spec, status } = pod;
  const statuses = (status?.["containerStatuses"] ?? []) as { restartCount: number }[];
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    uid: metadata.uid ?? "",
    node: spec.nodeName ?? "",
    serviceAccount: spec.serviceAccountName,
    labels: metadata.labels ?? {},
    ips: (status?.podIPs ?? []).map(({ ip }) => ip),
    phase: status?.phase ?? "Pending",
    ready: isReady(pod),
    going: isGoing(pod),
    restarts: statuses.reduce((sum, { restartCount }) => sum + restartCount, 0),
    startedAt: runner?.startedAt.toISOString() ?? "",
    probed: spec.containers.some(
      ({ readinessProbe, livenessProbe, startupProbe }) =>
        readinessProbe !== undefined || livenessProbe !== undefined || startupProbe !== undefined,
    ),
    probeSuccesses: runner?.probeSuccesses ?? 0,
    netnsPath: runner?.sandbox?.netnsPath,
    cgroup: runner?.cgroup.path,
  };
}

/** Pods that are neither ready nor done, in words. */
export function describeUnready(pods: readonly Pod[]): string[] {
  return pods.flatMap((pod) => {
    const phase = pod.status?.phase ?? "Pending";
    const done = phase === "Succeeded" && pod.spec.restartPolicy !== "Always";
    if (isReady(pod) || done) return isGoing(pod) ? [`pod ${pod.metadata.name} is going`] : [];
    return [`pod ${pod.metadata.namespace}/${pod.metadata.name} is ${phase} and not ready`];
  });
}
