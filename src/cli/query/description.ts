/** All that the mesh knows about one pod, merged: why it is enrolled or not, who it is, what it accepts, and what is odd about it. */

import { translateNamespace } from "../../manifests/translate/namespace.ts";
import { enrolmentOf, type PodPiece, translatePod } from "../../manifests/translate/pod.ts";
import type { EffectiveMode, MeshView } from "../../model/mesh.ts";
import type { Service } from "../../model/service.ts";
import type { Workload } from "../../model/workload.ts";
import { type Finding, lint } from "../../policy/lint.ts";
import { type Cluster, objectKey, type ReadingProblem } from "./cluster.ts";

export interface DescribedPort {
  readonly port: number;
  /** `namespace/name:port` of Services that send here. */
  readonly services: readonly string[];
  readonly mode: EffectiveMode;
  /** Requests on it are read and judged one by one. */
  readonly readsHttp: boolean;
}

export interface DescribedPolicy {
  /** `namespace/name`. */
  readonly policy: string;
  readonly action: string;
  readonly dryRun: boolean;
  readonly rules: number;
  readonly problems: readonly string[];
}

export interface Description {
  readonly name: string;
  readonly namespace: string;
  readonly owner: { readonly kind: string; readonly name: string };
  readonly node: string;
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly ready: boolean;
  readonly enrolled: boolean;
  readonly enrolledBecause: string;
  readonly serviceAccount: string;
  readonly identity: string;
  /** Of ports that have no mode of their own. */
  readonly mode: EffectiveMode;
  readonly ports: readonly DescribedPort[];
  readonly policies: readonly DescribedPolicy[];
  /** What holds for who matches no policy. */
  readonly otherwise: "allow" | "deny";
  readonly findings: readonly Finding[];
  readonly problems: readonly ReadingProblem[];
}

export function describe(cluster: Cluster, workload: Workload): Description {
  const { view } = cluster;
  const policies = view.authorizationFor(workload);
  const pod = podOf(cluster, workload);
  const enrolment = pod && enrolmentOf(pod, namespaceOf(cluster, workload.namespace));
  const ports = portsOf(view, workload, pod);
  const authentications = new Set(ports.map(({ mode }) => mode.policy));
  const mode = view.inboundMode(workload, portWithoutOwnMode(view, workload));
  const names = new Set(policies.map(({ namespace, name }) => `${namespace}/${name}`));
  const enforced = policies.filter(({ action, dryRun }) => action !== "AUDIT" && !dryRun);
  return {
    name: workload.name,
    namespace: workload.namespace,
    owner: workload.owner,
    node: workload.node,
    addresses: workload.addresses,
    labels: Object.fromEntries(workload.labels),
    ready: workload.ready,
    enrolled: workload.tunnel === "hbone",
    enrolledBecause: enrolment?.because ?? "",
    serviceAccount: workload.serviceAccount,
    identity: workload.identity,
    mode,
    ports,
    policies: policies.map(({ namespace, name, action, dryRun, rules, problems }) => ({
      policy: `${namespace}/${name}`,
      action,
      dryRun,
      rules: rules.length,
      problems,
    })),
    otherwise: enforced.some(({ action }) => action === "ALLOW") ? "deny" : view.settings.defaultAction,
    findings: lint(view, { whole: true }).filter(({ kind, object }) =>
      kind === "AuthorizationPolicy" ? names.has(object) : authentications.has(object) || object === mode.policy,
    ),
    problems: cluster.problems.filter(({ object }) => object === objectKey("Pod", workload.namespace, workload.name)),
  };
}

function podOf(cluster: Cluster, { namespace, name }: Workload): PodPiece | undefined {
  const placed = cluster.objects.get(objectKey("Pod", namespace, name));
  const translation = placed && translatePod(placed.object, namespace);
  return translation?.kind === "ok" ? translation.value : undefined;
}

function namespaceOf(cluster: Cluster, name: string) {
  const placed = cluster.objects.get(objectKey("Namespace", "", name));
  const translation = placed && translateNamespace(placed.object);
  return translation?.kind === "ok" ? translation.value : undefined;
}

/** Ports that Services send to, that containers name, and that have a mode of their own. */
function portsOf(view: MeshView, workload: Workload, pod: PodPiece | undefined): DescribedPort[] {
  const services = new Map<number, Set<string>>();
  const sends = (target: number): Set<string> => {
    const known = services.get(target) ?? new Set();
    services.set(target, known);
    return known;
  };
  for (const service of view.servicesOf(workload)) addTargets(view, workload, service, sends);
  for (const port of pod?.namedPorts.values() ?? []) sends(port);
  for (const port of portsWithOwnMode(view, workload)) sends(port);
  return [...services]
    .sort(([one], [other]) => one - other)
    .map(([port, names]) => ({
      port,
      services: [...names].sort(),
      mode: view.inboundMode(workload, port),
      readsHttp: view.readsHttp(workload, port),
    }));
}

function addTargets(
  view: MeshView,
  workload: Workload,
  service: Service,
  sends: (target: number) => Set<string>,
): void {
  for (const { port } of service.ports) {
    for (const end of view.endpoints(service, port) ?? []) {
      if (end.workload === workload.uid) sends(end.targetPort).add(`${service.namespace}/${service.name}:${port}`);
    }
  }
}

function portsWithOwnMode(view: MeshView, { namespace }: Workload): Set<number> {
  const policies = [...view.peerAuthentications()].filter((policy) => policy.namespace === namespace);
  return new Set(policies.flatMap(({ portModes }) => [...portModes.keys()]));
}

function portWithoutOwnMode(view: MeshView, workload: Workload): number {
  const own = portsWithOwnMode(view, workload);
  let port = 1;
  while (own.has(port)) port += 1;
  return port;
}
