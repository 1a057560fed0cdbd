/** Pod → workload, and the pod of a node that its agent captures. */
import { z } from "zod";
import { formatIdentity } from "../../identity/spiffe.ts";
import { canonicalIp } from "../../lib/ip.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import { type LocalPod, podWorkloadUid, type Workload } from "../../model/workload.ts";
import { type Enrolment, type EnrolmentMode, enrolment, modeLabel, readMode, sidecarAnnotations } from "./enrolment.ts";
import type { KubernetesObject, Metadata } from "./metadata.ts";
import type { NamespacePiece } from "./namespace.ts";
import type { NodePiece } from "./node.ts";
import { type FieldProblem, ok, problemsOf, rejected, type Translation } from "./translation.ts";

/** Plaintext may pass when the agent is away, by the pod's own choice. */
export const failOpenAnnotation = "warren.dev/fail-open";

/** Of the annotations those that somebody asks for: others are longer than all that we keep of a pod. */
const readAnnotations = [failOpenAnnotation, ...sidecarAnnotations];

const nothing: ReadonlyMap<string, never> = new Map<string, never>();

const portReference = z.union([z.number().int().min(1).max(65535), z.string().min(1)]);
const probe = z
  .object({
    httpGet: z.object({ port: portReference }).nullish(),
    tcpSocket: z.object({ port: portReference }).nullish(),
    grpc: z.object({ port: z.number().int() }).nullish(),
  })
  .nullish();

const container = z.object({
  name: z.string(),
  ports: z
    .array(
      z.object({
        name: z.string().nullish(),
        containerPort: z.number().int().min(1).max(65535),
        protocol: z.string().nullish(),
      }),
    )
    .nullish(),
  livenessProbe: probe,
  readinessProbe: probe,
  startupProbe: probe,
});

const ip = z.string().transform((text, context) => {
  const canonical = canonicalIp(text);
  if (canonical === undefined) {
    context.addIssue({ code: "custom", message: `${JSON.stringify(text)} is not an IP address` });
    return z.NEVER;
  }
  return canonical;
});

const podSchema = z.object({
  spec: z.object({
    serviceAccountName: z.string().nullish(),
    nodeName: z.string().nullish(),
    hostNetwork: z.boolean().nullish(),
    os: z.object({ name: z.string() }).nullish(),
    containers: z.array(container).nullish(),
    initContainers: z.array(container).nullish(),
  }),
  status: z
    .object({
      phase: z.string().nullish(),
      podIP: z.union([z.literal(""), ip]).nullish(),
      podIPs: z.array(z.object({ ip })).nullish(),
      conditions: z.array(z.object({ type: z.string(), status: z.string() })).nullish(),
    })
    .nullish(),
});

type PodObject = z.output<typeof podSchema>;

/** A pod as far as the mesh cares, before the namespace's labels and the mesh settings are known. */
export interface PodPiece {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly node: string;
  readonly addresses: readonly string[];
  readonly labels: ReadonlyMap<string, string>;
  /** Of the keys that are read. */
  readonly annotations: ReadonlyMap<string, string>;
  readonly owner: Workload["owner"];
  readonly mode: EnrolmentMode | undefined;
  readonly hostNetwork: boolean;
  readonly windows: boolean;
  readonly containerNames: readonly string[];
  /** Named TCP ports of the containers, for Services' named target ports. */
  readonly namedPorts: ReadonlyMap<string, number>;
  readonly probePorts: readonly number[];
  readonly ready: boolean;
  readonly finished: boolean;
  readonly terminating: boolean;
}

export function translatePod(object: KubernetesObject, namespace: string): Translation<PodPiece> {
  const parsed = podSchema.safeParse(object.raw);
  if (!parsed.success) return rejected(problemsOf(parsed.error));
  const { spec, status } = parsed.data;
  const { metadata } = object;
  const problems: FieldProblem[] = [];
  const serviceAccount = spec.serviceAccountName ?? "default";
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(serviceAccount)) {
    return rejected([{ field: "spec.serviceAccountName", message: "is not the name of a ServiceAccount" }]);
  }
  const containers = [...(spec.initContainers ?? []), ...(spec.containers ?? [])];
  const namedPorts = new Map<string, number>();
  for (const port of containers.flatMap(({ ports }) => ports ?? [])) {
    if (port.name && (port.protocol ?? "TCP") === "TCP") namedPorts.set(port.name, port.containerPort);
  }
  const phase = status?.phase ?? "";
  return ok(
    {
      // A manifest written by hand has no uid; a namespace has no dot in it, so this is one-to-one.
      uid: metadata.uid ?? `${namespace}.${metadata.name}`,
      name: metadata.name,
      namespace,
      serviceAccount,
      node: spec.nodeName ?? "",
      addresses: addressesOf(status),
      labels: metadata.labels,
      annotations: picked(metadata.annotations, readAnnotations),
      owner: ownerOf(metadata),
      mode: readMode(metadata.labels.get(modeLabel), problems),
      hostNetwork: spec.hostNetwork ?? false,
      windows: spec.os?.name === "windows",
      containerNames: containers.map(({ name }) => name),
      namedPorts: namedPorts.size === 0 ? nothing : namedPorts,
      probePorts: probePorts(containers, namedPorts),
      ready: (status?.conditions ?? []).some(({ type, status: value }) => type === "Ready" && value === "True"),
      finished: phase === "Succeeded" || phase === "Failed",
      terminating: metadata.deletionTimestamp > 0,
    },
    problems,
  );
}

function picked(all: ReadonlyMap<string, string>, keys: readonly string[]): ReadonlyMap<string, string> {
  if (!keys.some((key) => all.has(key))) return nothing;
  return new Map([...all].filter(([key]) => keys.includes(key)));
}

function addressesOf(status: PodObject["status"]): string[] {
  const all = (status?.podIPs ?? []).map((entry) => entry.ip);
  if (status?.podIP) all.unshift(status.podIP);
  return [...new Set(all)];
}

function probePorts(
  containers: readonly z.output<typeof container>[],
  namedPorts: ReadonlyMap<string, number>,
): number[] {
  const ports = new Set<number>();
  for (const { livenessProbe, readinessProbe, startupProbe } of containers) {
    for (const probed of [livenessProbe, readinessProbe, startupProbe]) {
      const reference = probed?.httpGet?.port ?? probed?.tcpSocket?.port ?? probed?.grpc?.port;
      const port = typeof reference === "string" ? namedPorts.get(reference) : reference;
      if (port !== undefined) ports.add(port);
    }
  }
  return [...ports].sort((one, other) => one - other);
}

/** The controller a person would name: a ReplicaSet's Deployment and a Job's CronJob are told by how those name their children. */
function ownerOf(metadata: Metadata): Workload["owner"] {
  const controller = metadata.ownerReferences.find((reference) => reference.controller !== false);
  if (controller === undefined) return { kind: "Pod", name: metadata.name };
  const hash = metadata.labels.get("pod-template-hash");
  if (controller.kind === "ReplicaSet" && hash !== undefined && controller.name.endsWith(`-${hash}`)) {
    return { kind: "Deployment", name: controller.name.slice(0, -hash.length - 1) };
  }
  const scheduled = /^(.+)-\d{8,10}$/.exec(controller.name);
  if (controller.kind === "Job" && scheduled?.[1] !== undefined) return { kind: "CronJob", name: scheduled[1] };
  return { kind: controller.kind, name: controller.name };
}

export function enrolmentOf(pod: PodPiece, namespace: NamespacePiece | undefined): Enrolment {
  return enrolment({ ...pod, podMode: pod.mode, namespaceMode: namespace?.mode });
}

function firstLabel(labels: ReadonlyMap<string, string>, keys: readonly string[]): string | undefined {
  for (const key of keys) {
    const value = labels.get(key);
    if (value) return value;
  }
  return undefined;
}

/** Undefined for a finished pod: its address may belong to another one by now. */
export function workloadOf(
  pod: PodPiece,
  namespace: NamespacePiece | undefined,
  settings: Pick<MeshSettings, "cluster" | "trustDomain">,
  node?: NodePiece,
): Workload | undefined {
  if (pod.finished) return undefined;
  const { labels } = pod;
  return {
    uid: podWorkloadUid(settings.cluster, pod.namespace, pod.name),
    name: pod.name,
    namespace: pod.namespace,
    serviceAccount: pod.serviceAccount,
    trustDomain: settings.trustDomain,
    identity: formatIdentity({ ...pod, trustDomain: settings.trustDomain }),
    node: pod.node,
    ...(node === undefined || (node.zone === "" && node.region === "")
      ? {}
      : { locality: { region: node.region, zone: node.zone } }),
    cluster: settings.cluster,
    addresses: pod.hostNetwork ? [] : pod.addresses,
    hostNetwork: pod.hostNetwork,
    ...(pod.hostNetwork && pod.addresses.length > 0 ? { hostAddresses: pod.addresses } : {}),
    labels,
    owner: pod.owner,
    canonicalName:
      firstLabel(labels, ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]) ?? pod.owner.name,
    canonicalRevision:
      firstLabel(labels, ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]) ?? "latest",
    tunnel: enrolmentOf(pod, namespace).enrolled ? "hbone" : "none",
    ready: pod.ready && !pod.terminating,
  };
}

/**
 * What the node's agent captures; undefined until an enrolled pod has a node. It may have no address yet: the agent hears of those
 * from the container runtime before the cluster does.
 */
export function localPodOf(
  pod: PodPiece,
  workload: Workload | undefined,
): { readonly node: string; readonly pod: LocalPod } | undefined {
  if (workload === undefined || workload.tunnel !== "hbone" || pod.node === "") return undefined;
  return {
    node: pod.node,
    pod: {
      uid: pod.uid,
      workload: workload.uid,
      name: pod.name,
      namespace: pod.namespace,
      serviceAccount: pod.serviceAccount,
      identity: workload.identity,
      addresses: pod.addresses,
      failOpen: pod.annotations.get(failOpenAnnotation) === "true",
      probePorts: pod.probePorts,
    },
  };
}
