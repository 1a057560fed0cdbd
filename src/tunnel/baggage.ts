/** The `baggage` header that tells a peer's telemetry who we are: keys as ztunnel sends them, no percent-encoding. */
import type { Workload } from "../model/workload.ts";

/** The kinds that have a key of their own; every other controller is told as a pod, under its own name. */
const ownerKeys: Readonly<Record<string, string>> = {
  Deployment: "k8s.deployment.name",
  CronJob: "k8s.cronjob.name",
  Job: "k8s.job.name",
};

export function baggageOf(workload: Workload): string {
  const entries: [string, string][] = [
    ["k8s.cluster.name", workload.cluster],
    ["k8s.namespace.name", workload.namespace],
    [ownerKeys[workload.owner.kind] ?? "k8s.pod.name", workload.owner.name],
    ["service.name", workload.canonicalName],
    ["service.version", workload.canonicalRevision],
  ];
  // A value that would read as a delimiter or end the header is left out: labels can hold none, configured names might.
  return entries
    .filter(([, value]) => /^[\w.~/:@+-]+$/.test(value))
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}
