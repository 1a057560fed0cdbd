/**
 * Kubernetes objects as the lab reads them. Fields that the lab acts upon are checked here, once, where a manifest comes in; all
 * others pass through untouched into the rendered cluster, for agents and control to judge.
 */
import { z } from "zod";

const labels = z.record(z.string(), z.string());

const ownerReference = z.looseObject({ kind: z.string(), name: z.string(), controller: z.boolean().optional() });

const metadata = z.looseObject({
  name: z
    .string()
    .max(253)
    .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, "must be lower-case letters, digits, dashes and dots"),
  namespace: z.string().optional(),
  labels: labels.optional(),
  uid: z.string().optional(),
  creationTimestamp: z.string().optional(),
  deletionTimestamp: z.string().optional(),
  ownerReferences: z.array(ownerReference).optional(),
});

const templateMetadata = z.looseObject({ labels: labels.optional() });

const portNumber = z.int().min(1).max(65_535);
const portReference = z.union([portNumber, z.string()]);

const probe = z.looseObject({
  tcpSocket: z.looseObject({ port: portReference, host: z.string().optional() }).optional(),
  httpGet: z
    .looseObject({
      port: portReference,
      path: z.string().optional(),
      host: z.string().optional(),
      scheme: z.enum(["HTTP", "HTTPS"]).optional(),
      httpHeaders: z.array(z.looseObject({ name: z.string(), value: z.string() })).optional(),
    })
    .optional(),
  exec: z.looseObject({ command: z.array(z.string()).min(1) }).optional(),
  grpc: z.never("grpc probes are not something the lab runs; use tcpSocket").optional(),
  initialDelaySeconds: z.number().min(0).default(0),
  periodSeconds: z.number().positive().default(10),
  timeoutSeconds: z.number().positive().default(1),
  successThreshold: z.int().min(1).default(1),
  failureThreshold: z.int().min(1).default(3),
});

const fieldPaths = [
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "spec.nodeName",
  "spec.serviceAccountName",
  "status.hostIP",
  "status.podIP",
  "status.podIPs",
] as const;

const environmentVariable = z.looseObject({
  name: z.string(),
  value: z.string().optional(),
  valueFrom: z
    .looseObject({
      fieldRef: z.looseObject({ fieldPath: z.enum(fieldPaths) }).optional(),
      configMapKeyRef: z
        .looseObject({ name: z.string(), key: z.string(), optional: z.boolean().optional() })
        .optional(),
      secretKeyRef: z.never("the lab keeps no Secrets; use value").optional(),
    })
    .optional(),
});

const container = z.looseObject({
  name: z.string().regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, "must be lower-case letters, digits and dashes"),
  command: z
    .array(z.string(), "is missing: the lab runs no images, so name the program to run")
    .min(1, "names no program: the lab runs no images"),
  args: z.array(z.string()).default([]),
  env: z.array(environmentVariable).default([]),
  workingDir: z.string().optional(),
  ports: z
    .array(
      z.looseObject({
        name: z.string().optional(),
        containerPort: portNumber,
        protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP"),
      }),
    )
    .default([]),
  volumeMounts: z
    .array(
      z.looseObject({
        name: z.string(),
        mountPath: z.string().startsWith("/"),
        subPath: z.never("is not something the lab mounts").optional(),
      }),
    )
    .default([]),
  securityContext: z
    .looseObject({ runAsUser: z.int().min(0).optional(), runAsGroup: z.int().min(0).optional() })
    .optional(),
  readinessProbe: probe.optional(),
  livenessProbe: probe.optional(),
  startupProbe: probe.optional(),
});

const selector = z.looseObject({
  matchLabels: labels.default({}),
  matchExpressions: z.never("is not something the lab selects by; use matchLabels").optional(),
});

const podAffinityTerm = z.looseObject({
  topologyKey: z.literal("kubernetes.io/hostname", "is the only topology that the lab has: kubernetes.io/hostname"),
  namespaces: z.array(z.string()).optional(),
  labelSelector: selector,
});

const affinity = z.looseObject({
  podAntiAffinity: z
    .looseObject({
      requiredDuringSchedulingIgnoredDuringExecution: z.array(podAffinityTerm).default([]),
      preferredDuringSchedulingIgnoredDuringExecution: z
        .array(z.looseObject({ weight: z.int().min(1).max(100), podAffinityTerm }))
        .default([]),
    })
    .optional(),
});

const podSpec = z.looseObject({
  containers: z.array(container).min(1),
  initContainers: z.array(container).default([]),
  nodeName: z.string().optional(),
  nodeSelector: labels.optional(),
  affinity: affinity.optional(),
  hostNetwork: z.boolean().default(false),
  hostname: z.string().optional(),
  subdomain: z.string().optional(),
  serviceAccountName: z.string().default("default"),
  restartPolicy: z.enum(["Always", "OnFailure", "Never"]).default("Always"),
  terminationGracePeriodSeconds: z.number().min(0).default(30),
  securityContext: z
    .looseObject({ runAsUser: z.int().min(0).optional(), runAsGroup: z.int().min(0).optional() })
    .optional(),
  volumes: z
    .array(
      z.looseObject({
        name: z.string(),
        configMap: z.looseObject({ name: z.string(), optional: z.boolean().optional() }).optional(),
        emptyDir: z.looseObject({}).optional(),
      }),
    )
    .default([]),
});

const condition = z.looseObject({ type: z.string(), status: z.enum(["True", "False", "Unknown"]) });

const podStatus = z.looseObject({
  phase: z.enum(["Pending", "Running", "Succeeded", "Failed", "Unknown"]).optional(),
  podIP: z.string().optional(),
  podIPs: z.array(z.object({ ip: z.string() })).optional(),
  hostIP: z.string().optional(),
  conditions: z.array(condition).optional(),
});

export const podSchema = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Pod"),
  metadata,
  spec: podSpec,
  status: podStatus.optional(),
});

const podTemplate = z.looseObject({ metadata: templateMetadata.default({}), spec: podSpec });

export const deploymentSchema = z
  .looseObject({
    apiVersion: z.literal("apps/v1"),
    kind: z.literal("Deployment"),
    metadata,
    spec: z.looseObject({ replicas: z.int().min(0).default(1), selector, template: podTemplate }),
  })
  .superRefine((deployment, context) => {
    for (const [key, value] of Object.entries(deployment.spec.selector.matchLabels))
      if (deployment.spec.template.metadata.labels?.[key] !== value)
        context.addIssue({
          code: "custom",
          path: ["spec", "selector", "matchLabels", key],
          message: "does not match the template's labels",
        });
  });

export const replicaSetSchema = z.looseObject({
  apiVersion: z.literal("apps/v1"),
  kind: z.literal("ReplicaSet"),
  metadata,
  spec: z.looseObject({ replicas: z.int().min(0).default(1), selector, template: podTemplate }),
});

export const serviceSchema = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Service"),
  metadata,
  spec: z.looseObject({
    type: z.enum(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]).default("ClusterIP"),
    selector: labels.optional(),
    clusterIP: z.string().optional(),
    clusterIPs: z.array(z.string()).optional(),
    ipFamilies: z.array(z.enum(["IPv4", "IPv6"])).optional(),
    ipFamilyPolicy: z.enum(["SingleStack", "PreferDualStack", "RequireDualStack"]).optional(),
    publishNotReadyAddresses: z.boolean().default(false),
    ports: z
      .array(
        z.looseObject({
          name: z.string().optional(),
          port: portNumber,
          targetPort: portReference.optional(),
          protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP"),
          appProtocol: z.string().optional(),
        }),
      )
      .default([]),
  }),
});

export const endpointSliceSchema = z.looseObject({
  apiVersion: z.literal("discovery.k8s.io/v1"),
  kind: z.literal("EndpointSlice"),
  metadata,
  addressType: z.enum(["IPv4", "IPv6", "FQDN"]),
  endpoints: z
    .array(
      z.looseObject({
        addresses: z.array(z.string()).min(1),
        hostname: z.string().optional(),
        conditions: z.looseObject({ ready: z.boolean().optional() }).optional(),
      }),
    )
    .default([]),
  ports: z
    .array(
      z.looseObject({
        name: z.string().optional(),
        port: portNumber.optional(),
        protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP"),
      }),
    )
    .default([]),
});

export const configMapSchema = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("ConfigMap"),
  metadata,
  data: z.record(z.string(), z.string()).default({}),
});

export const otherSchema = z.looseObject({ apiVersion: z.string().min(1), kind: z.string().min(1), metadata });

export type Pod = z.infer<typeof podSchema>;
export type Container = Pod["spec"]["containers"][number];
export type Probe = NonNullable<Container["readinessProbe"]>;
export type Deployment = z.infer<typeof deploymentSchema>;
export type ReplicaSet = z.infer<typeof replicaSetSchema>;
export type Service = z.infer<typeof serviceSchema>;
export type EndpointSlice = z.infer<typeof endpointSliceSchema>;
export type ConfigMap = z.infer<typeof configMapSchema>;
/** Any object: of a kind above, or of one that the lab only passes on. */
export type ClusterObject = z.infer<typeof otherSchema>;

/** Schemas of the kinds that the lab acts upon. Others are passed on. */
export const schemas: ReadonlyMap<string, { readonly apiVersion: string; readonly schema: z.ZodType<ClusterObject> }> =
  new Map<string, { apiVersion: string; schema: z.ZodType<ClusterObject> }>([
    ["Pod", { apiVersion: "v1", schema: podSchema }],
    ["Deployment", { apiVersion: "apps/v1", schema: deploymentSchema }],
    ["ReplicaSet", { apiVersion: "apps/v1", schema: replicaSetSchema }],
    ["Service", { apiVersion: "v1", schema: serviceSchema }],
    ["EndpointSlice", { apiVersion: "discovery.k8s.io/v1", schema: endpointSliceSchema }],
    ["ConfigMap", { apiVersion: "v1", schema: configMapSchema }],
  ]);

/** Kinds that live outside namespaces. */
const clusterScoped = new Set([
  "Namespace",
  "Node",
  "ClusterRole",
  "ClusterRoleBinding",
  "CustomResourceDefinition",
  "PersistentVolume",
  "PriorityClass",
  "RuntimeClass",
  "StorageClass",
]);

export function isNamespaced(kind: string): boolean {
  return !clusterScoped.has(kind);
}

export function matches(
  selector: Readonly<Record<string, string>>,
  of: Readonly<Record<string, string>> = {},
): boolean {
  return Object.entries(selector).every(([key, value]) => of[key] === value);
}
