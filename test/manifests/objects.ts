/** Kubernetes objects for tests, as a manifest would hold them. */
import { frameSchema, type KubernetesObject } from "../../src/manifests/translate/metadata.ts";

export function framed(raw: Record<string, unknown>): KubernetesObject {
  const { apiVersion, kind, metadata } = frameSchema.parse(raw);
  return { apiVersion, kind, metadata, raw };
}

export interface PodInput {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  readonly metadata?: Record<string, unknown>;
  readonly spec?: Record<string, unknown>;
  readonly ips?: readonly string[];
  readonly phase?: string;
  readonly ready?: boolean;
}

export function podObject(input: PodInput): Record<string, unknown> {
  const {
    name,
    namespace = "shop",
    labels,
    annotations,
    metadata,
    spec,
    ips = ["10.0.0.1"],
    phase = "Running",
  } = input;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels, annotations, ...metadata },
    spec: { serviceAccountName: name, nodeName: "n1", containers: [{ name: "main" }], ...spec },
    status: {
      phase,
      podIPs: ips.map((ip) => ({ ip })),
      conditions: [{ type: "Ready", status: (input.ready ?? true) ? "True" : "False" }],
    },
  };
}

export function serviceObject(
  name: string,
  spec: Record<string, unknown>,
  namespace = "shop",
): Record<string, unknown> {
  return { apiVersion: "v1", kind: "Service", metadata: { name, namespace }, spec };
}

export function sliceObject(
  name: string,
  service: string,
  rest: Record<string, unknown>,
  namespace = "shop",
): Record<string, unknown> {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace, labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    ...rest,
  };
}

export function policyObject(
  kind: "AuthorizationPolicy" | "PeerAuthentication",
  name: string,
  spec: unknown,
  metadata: Record<string, unknown> = {},
): Record<string, unknown> {
  return { apiVersion: "security.istio.io/v1", kind, metadata: { name, namespace: "shop", ...metadata }, spec };
}
