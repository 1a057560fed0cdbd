/** Objects for tests, from YAML as people write it. */

import type { z } from "zod";
import { parseManifests } from "../../src/lab/cluster/manifests.ts";
import { type ClusterObject, type Pod, podSchema, type Service, serviceSchema } from "../../src/lab/cluster/objects.ts";
import type { PodReport } from "../../src/lab/cluster/pod-status.ts";
import { statusOf } from "../../src/lab/cluster/pod-status.ts";

export function objectsOf(yaml: string): ClusterObject[] {
  return parseManifests([{ name: "test.yaml", text: yaml }], "production");
}

export function objectOf<S extends z.ZodType<ClusterObject>>(schema: S, yaml: string): z.infer<S> {
  const [object] = objectsOf(yaml);
  return schema.parse(object);
}

export interface PodTraits {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** YAML of further fields of the spec, in flow style. */
  readonly spec?: string;
}

export function podOf(name: string, { namespace, labels, spec }: PodTraits = {}): Pod {
  const pod = objectOf(
    podSchema,
    `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: ${JSON.stringify(labels ?? {})}}
spec: {containers: [{name: main, command: [sleep, infinity], ports: [{name: http, containerPort: 8080}]}]${spec === undefined ? "" : `, ${spec}`}}
`,
  );
  return { ...pod, metadata: { ...pod.metadata, namespace: namespace ?? "production", uid: `uid-of-${name}` } };
}

/** A pod that runs on a node. */
export function runningPod(
  name: string,
  ips: readonly string[],
  traits: PodTraits & { readonly ready?: boolean } = {},
): Pod {
  const pod = podOf(name, traits);
  const report: PodReport = {
    containers: [
      { name: "main", state: { kind: "running", since: new Date(0) }, ready: traits.ready ?? true, restarts: 0 },
    ],
    initialized: true,
    addresses: ips,
    nodeAddresses: ["172.18.1.1"],
    startedAt: new Date(0),
  };
  return { ...pod, spec: { ...pod.spec, nodeName: "node-1" }, status: statusOf(pod, report, new Date(0)) };
}

export function serviceOf(spec: string, name = "web"): Service {
  const service = objectOf(
    serviceSchema,
    `
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: ${spec}
`,
  );
  return { ...service, metadata: { ...service.metadata, uid: `uid-of-${name}` } };
}
