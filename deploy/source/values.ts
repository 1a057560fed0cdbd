/** What may be set at installation: the chart's values with their schema, and the defaults of the plain manifests. */
import { z } from "zod";
import { version } from "../../src/lib/version.ts";

const quantity = z.union([z.string(), z.number()]).describe("A Kubernetes quantity.");
const resources = (cpu: string, memory: string, limit: string) =>
  z
    .strictObject({
      requests: z.record(z.string(), quantity).prefault({ cpu, memory }),
      limits: z.record(z.string(), quantity).prefault({ memory: limit }),
    })
    .prefault({})
    .describe("What its container asks for. No CPU limit: throttling would be felt by every connection.");
/** What is written here is read by a process that would not start with anything else: Helm says so sooner. */
const duration = z.string().regex(/^(\d+(\.\d+)?(ms|s|m|h))+$/);
const folder = z.string().regex(/^\//);
const toleration = z.looseObject({});
const level = z
  .enum(["trace", "debug", "info", "warn", "error"])
  .prefault("info")
  .describe("Least severe level logged.");

export const valuesSchema = z.strictObject({
  image: z
    .strictObject({
      repository: z.string().min(1).prefault("warren").describe("Where your build of deploy/Dockerfile is."),
      tag: z.string().min(1).prefault(version).describe("One image for agents, control and the CNI plugin."),
      pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).prefault("IfNotPresent"),
      pullSecrets: z.array(z.strictObject({ name: z.string().min(1) })).prefault([]),
    })
    .prefault({}),
  mesh: z
    .strictObject({
      trustDomain: z.string().min(1).prefault("cluster.local").describe("First part of every identity."),
      trustDomainAliases: z
        .array(z.string().min(1))
        .prefault([])
        .describe("Other trust domains whose identities count as this mesh's own, for the time of a move."),
      clusterDomain: z.string().min(1).prefault("cluster.local").describe("DNS suffix of Services."),
      localTraffic: z
        .enum(["mtls", "auto"])
        .prefault("mtls")
        .describe("auto joins pods of one node without TLS where no NetworkPolicy selects them."),
      defaultAction: z
        .enum(["allow", "deny"])
        .prefault("allow")
        .describe("What holds for workloads that no ALLOW policy selects."),
    })
    .prefault({}),
  node: z
    .strictObject({
      engine: z.enum(["native", "typescript"]).prefault("native").describe("What moves the bytes."),
      logLevel: level,
      accessLog: z
        .enum(["all", "failures", "off"])
        .prefault("all")
        .describe(`Which connections get a line at their end: all, failures, or "off", which YAML wants in quotes.`),
      resources: resources("100m", "128Mi", "1Gi"),
      nodeSelector: z.record(z.string(), z.string()).prefault({ "kubernetes.io/os": "linux" }),
      tolerations: z
        .array(toleration)
        .prefault([{ operator: "Exists" }])
        .describe("Every node with pods of the mesh needs its agent."),
      terminationGracePeriodSeconds: z
        .int()
        .min(1)
        .prefault(35)
        .describe(
          "Longer than drainDeadline: open connections may end in that time while the next agent takes new ones.",
        ),
      drainDeadline: duration.prefault("30s"),
      seLinuxType: z
        .string()
        .prefault("")
        .describe("SELinux type of the agent where nodes enforce one, such as spc_t; empty: the runtime's own."),
      cri: z
        .strictObject({
          directory: z
            .string()
            .regex(/^(\/|$)/)
            .prefault("")
            .describe(
              "Folder of the container runtime's socket, such as /run/containerd; empty: pods are found by /proc.",
            ),
          socket: z.string().min(1).prefault("containerd.sock").describe("The socket's name in it."),
        })
        .prefault({}),
      cni: z
        .strictObject({
          enabled: z
            .boolean()
            .prefault(true)
            .describe("Chain a CNI plugin, so that a pod is captured before its first instruction."),
          binDir: folder.prefault("/opt/cni/bin").describe("Where the container runtime looks for plugins."),
          confDir: folder.prefault("/etc/cni/net.d").describe("Where it looks for network configurations."),
          excludeNamespaces: z
            .array(z.string().min(1))
            .min(1)
            .prefault(["kube-system"])
            .describe(
              "Whose pods start without being asked about, beside Warren's own: what a cluster needs to come up.",
            ),
        })
        .prefault({}),
    })
    .prefault({}),
  control: z
    .strictObject({
      replicas: z.int().min(1).prefault(2),
      logLevel: level,
      resources: resources("100m", "192Mi", "2Gi"),
      nodeSelector: z.record(z.string(), z.string()).prefault({ "kubernetes.io/os": "linux" }),
      tolerations: z.array(toleration).prefault([]),
      networkPolicy: z
        .boolean()
        .prefault(true)
        .describe("Let nothing but agents' and operators' port and the metrics in."),
    })
    .prefault({}),
  crds: z
    .boolean()
    .prefault(true)
    .describe(
      "Install the two policy kinds; off where Istio's are installed, which have the same names and are understood.",
    ),
  priorityQuota: z
    .boolean()
    .prefault(false)
    .describe(
      "A ResourceQuota that lets system-critical pods into the namespace, which GKE asks for outside of kube-system.",
    ),
  admission: z
    .boolean()
    .prefault(true)
    .describe("ValidatingAdmissionPolicies that refuse or warn of policies; Kubernetes 1.30."),
});

export type Values = z.output<typeof valuesSchema>;

export const defaultValues: Values = valuesSchema.parse({});
