/**
 * Workloads as people name them: `deploy/api`, `pod/api-7c…`, `api`, each with `.namespace` behind it for another namespace; the pods behind
 * `svc/api`; and whoever has an address, as logs write it.
 */
import { MeshError } from "../../lib/errors.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import { addressIn, findService, podsBehind } from "./service-reference.ts";

const kinds: Readonly<Record<string, string>> = {
  po: "Pod",
  pod: "Pod",
  pods: "Pod",
  deploy: "Deployment",
  deployment: "Deployment",
  deployments: "Deployment",
  sts: "StatefulSet",
  statefulset: "StatefulSet",
  ds: "DaemonSet",
  daemonset: "DaemonSet",
  job: "Job",
  cronjob: "CronJob",
};

export interface WorkloadReference {
  /** Undefined: a pod of that name, or else whatever owns pods under that name. */
  readonly kind: string | undefined;
  readonly name: string;
  readonly namespace: string;
}

/**
 * Names of pods and of most owners may hold dots, namespaces never do: of several readings the first that exists counts, the whole name
 * before the shorter one with a namespace behind its last dot.
 */
export function readingsOf(text: string, namespace: string): WorkloadReference[] {
  const slash = text.indexOf("/");
  const kind = slash === -1 ? undefined : kinds[text.slice(0, slash).toLowerCase()];
  if (slash !== -1 && kind === undefined) {
    const known = "pod/, deploy/, sts/, ds/, job/, cronjob/ or svc/";
    throw new MeshError("MESH_CONFIG_WORKLOAD", `${text} names no workload: write ${known} before the name`);
  }
  const name = text.slice(slash + 1);
  const dot = name.lastIndexOf(".");
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) {
    throw new MeshError("MESH_CONFIG_WORKLOAD", `${text} names no workload: write for example deploy/api or api.shop`);
  }
  const whole = { kind, name, namespace };
  return dot === -1 ? [whole] : [whole, { kind, name: name.slice(0, dot), namespace: name.slice(dot + 1) }];
}

/** The pods that a reference means, in order of their names; never empty. Throws a usage error that names what there is. */
export function findWorkloads(view: MeshView, text: string, namespace: string): Workload[] {
  const address = addressIn(text);
  const pod = address === undefined ? undefined : view.workloadByAddress(address);
  if (pod !== undefined) return [pod];
  const service = findService(view, text, namespace);
  if (service !== undefined) return podsBehind(view, service);
  if (address !== undefined) {
    const what = "no pod and no Service of the mesh has the address";
    throw new MeshError("MESH_CONFIG_WORKLOAD", `${what} ${address}; a client outside it is plaintext`);
  }
  const readings = readingsOf(text, namespace);
  const workloads = [...view.workloads()];
  for (const reading of readings) {
    const found = workloads.filter((workload) => isMeant(workload, reading));
    const pods = reading.kind === undefined ? found.filter(({ name }) => name === reading.name) : [];
    const meant = pods.length > 0 ? pods : found;
    if (meant.length > 0) return meant.sort((one, other) => (one.name < other.name ? -1 : 1));
  }
  const home = readings.at(-1)?.namespace ?? namespace;
  const there = workloads
    .filter((workload) => workload.namespace === home)
    .map(({ owner, name }) => owner.name || name);
  const known = [...new Set(there)].sort().slice(0, 12).join(", ") || "none";
  const homes = [...new Set(workloads.map((workload) => workload.namespace))].sort().slice(0, 12).join(", ") || "none";
  throw new MeshError(
    "MESH_CONFIG_WORKLOAD",
    `no pod of ${text} in namespace ${readings.map((reading) => reading.namespace).join(" or ")}; workloads in ${home}: ${known}${there.length === 0 ? `; namespaces with workloads: ${homes}` : ""}`,
  );
}

/** A misspelt namespace must not look like one in which all is well. */
export function checkNamespace(view: MeshView, namespace: string): void {
  const known = new Set<string>();
  for (const one of view.workloads()) known.add(one.namespace);
  for (const one of view.services()) known.add(one.namespace);
  for (const one of view.authorizationPolicies()) known.add(one.namespace);
  for (const one of view.peerAuthentications()) known.add(one.namespace);
  if (known.has(namespace)) return;
  const there = [...known].sort().slice(0, 12).join(", ") || "none";
  throw new MeshError(
    "MESH_CONFIG_NAMESPACE",
    `no pod, Service or policy is in namespace ${namespace}; namespaces with any: ${there}`,
  );
}

function isMeant(workload: Workload, { kind, name, namespace }: WorkloadReference): boolean {
  if (workload.namespace !== namespace) return false;
  if (kind === "Pod") return workload.name === name;
  const owned = workload.owner.name === name && (kind === undefined || workload.owner.kind === kind);
  return owned || (kind === undefined && workload.name === name);
}
