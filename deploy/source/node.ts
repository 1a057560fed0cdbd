/** The agents: one pod on every node. They hold no right on the Kubernetes API; their token is good for control alone. */
import { stringify } from "yaml";
import { because, commas, knob, releaseNamespace, type Templated, Text, text, when } from "./knob.ts";
import { controlName, labels, metadata, nodeName } from "./labels.ts";

const runDirectory = "/run/warren";
const configDirectory = "/etc/warren";

/** The agent's configuration; what differs by installation stands in its environment, where knobs can be. */
const config = stringify({
  capture: { pinDirectory: "/sys/fs/bpf/warren", hostNetns: "/proc/1/ns/net" },
  control: { rootCertificate: "/var/lib/warren/root/root-cert.pem", tokenFile: "/var/lib/warren/token/token" },
  discovery: { stateFile: `${runDirectory}/last-good-state` },
  readiness: ":15021",
  metrics: ":15020",
});

const cni = "node.cni.enabled";
const cri = "node.cri.directory";

/** What the agent needs of root, and why; everything else is dropped. Loading BPF programs takes no more: SYS_ADMIN has BPF and PERFMON in it. */
export const capabilities = [
  because(
    "NET_ADMIN",
    "attaches the capture programs, sets pods' delivery routes and marks, binds transparently in pods' namespaces",
  ),
  because(
    "SYS_ADMIN",
    "enters pods' network namespaces (setns), loads the capture programs and pins them on the BPF file system",
  ),
  because("SYS_PTRACE", "opens /proc/<pid>/ns of pods' processes to find those namespaces"),
] as const;

function environment(name: string, value: Templated): Templated {
  return { name, value };
}

const volumes: readonly (readonly [string, Templated, Templated])[] = [
  ["config", { configMap: { name: nodeName } }, { mountPath: configDirectory, readOnly: true }],
  // Published by control: pods wait here until there is a mesh to join.
  ["root", { configMap: { name: "warren-ca-root" } }, { mountPath: "/var/lib/warren/root", readOnly: true }],
  [
    "token",
    {
      projected: {
        sources: [{ serviceAccountToken: { audience: controlName, expirationSeconds: 3600, path: "token" } }],
      },
    },
    { mountPath: "/var/lib/warren/token", readOnly: true },
  ],
  // Outlives the pod, not the node: what the next agent starts with, and where the CNI plugin finds it.
  ["run", { hostPath: { path: runDirectory, type: "DirectoryOrCreate" } }, { mountPath: runDirectory }],
  ["bpf", { hostPath: { path: "/sys/fs/bpf", type: "Directory" } }, { mountPath: "/sys/fs/bpf" }],
  ["cgroup", { hostPath: { path: "/sys/fs/cgroup", type: "Directory" } }, { mountPath: "/sys/fs/cgroup" }],
  [
    "netns",
    { hostPath: { path: "/run/netns", type: "DirectoryOrCreate" } },
    { mountPath: "/run/netns", mountPropagation: "HostToContainer", readOnly: true },
  ],
];

/** With the knob that each is there for. */
const optionalVolumes: readonly (readonly [string, string, Templated, Templated])[] = [
  [cni, "cni-bin", { hostPath: { path: knob("node.cni.binDir") } }, { mountPath: "/host/cni/bin" }],
  [cni, "cni-conf", { hostPath: { path: knob("node.cni.confDir") } }, { mountPath: "/host/cni/conf" }],
  // Its folder and not the socket itself, which is another after the runtime's restart.
  [cri, "cri", { hostPath: { path: knob(cri), type: "Directory" } }, { mountPath: "/host/cri", readOnly: true }],
];

const probe = { httpGet: { path: "/healthz/ready", port: "readiness" }, periodSeconds: 2, failureThreshold: 5 };

const container: Templated = {
  name: "agent",
  image: text`${knob("image.repository")}:${knob("image.tag")}`,
  imagePullPolicy: knob("image.pullPolicy"),
  // The host's view of cgroups: the agent names its own and the kubelet's, and attaches to that of all pods.
  command: ["nsenter", "--target=1", "--cgroup", "--", "warren", "node", `--config=${configDirectory}/config.yaml`],
  env: [
    { name: "WARREN_NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
    environment("WARREN_CONTROL_ADDRESS", new Text([`${controlName}.`, releaseNamespace, ".svc:15012"])),
    environment("WARREN_ENGINE", knob("node.engine")),
    environment("WARREN_LOG_LEVEL", knob("node.logLevel")),
    environment("WARREN_ACCESS_LOG_MODE", knob("node.accessLog")),
    environment("WARREN_DRAIN_DEADLINE", knob("node.drainDeadline")),
    environment("WARREN_MESH_TRUST_DOMAIN", knob("mesh.trustDomain")),
    when(cri, environment("WARREN_CAPTURE_CRI_SOCKET", text`/host/cri/${knob("node.cri.socket")}`)),
    when(cni, environment("WARREN_CNI_SOCKET", `${runDirectory}/cni.sock`)),
    when(cni, environment("WARREN_CNI_BIN_DIR", "/host/cni/bin")),
    when(cni, environment("WARREN_CNI_CONF_DIR", "/host/cni/conf")),
    // Our own pods among them, wherever Warren is installed: agents must start while there is no agent that the plugin could ask.
    when(
      cni,
      environment(
        "WARREN_CNI_EXCLUDE_NAMESPACES",
        new Text([releaseNamespace, ",", commas("node.cni.excludeNamespaces")]),
      ),
    ),
  ],
  ports: [
    { name: "metrics", containerPort: 15020 },
    { name: "readiness", containerPort: 15021 },
  ],
  // No liveness probe: a restart would refuse the node's connections to mend what it may not mend. No startup probe either, which kills as
  // well: an agent that waits for the control plane serves meanwhile what it knows, and would only begin to wait anew.
  readinessProbe: probe,
  resources: knob("node.resources"),
  securityContext: {
    runAsUser: 0,
    runAsGroup: 0,
    privileged: false,
    // The kernel's own condition for SYS_ADMIN in a pod.
    allowPrivilegeEscalation: true,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"], add: capabilities },
    seLinuxOptions: when<Templated>("node.seLinuxType", { type: knob("node.seLinuxType") }),
  },
  volumeMounts: [
    ...volumes.map(([name, , mount]) => ({ name, ...(mount as object) })),
    ...optionalVolumes.map(([path, name, , mount]) => when<Templated>(path, { name, ...(mount as object) })),
  ],
};

export const nodeObjects: readonly Templated[] = [
  {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: metadata(nodeName, "node"),
    automountServiceAccountToken: false,
  },
  { apiVersion: "v1", kind: "ConfigMap", metadata: metadata(nodeName, "node"), data: { "config.yaml": config } },
  {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: metadata(nodeName, "node"),
    spec: {
      selector: { matchLabels: labels("node") },
      // The next agent takes over before the old one goes: connections that come in between find one of them.
      updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      template: {
        metadata: {
          labels: { ...labels("node"), "warren.dev/mode": "none" },
          annotations: {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "15020",
            "prometheus.io/path": "/metrics",
          },
        },
        spec: {
          serviceAccountName: nodeName,
          automountServiceAccountToken: false,
          // A Service called warren-… would otherwise set variables that look like our own.
          enableServiceLinks: false,
          imagePullSecrets: knob("image.pullSecrets"),
          priorityClassName: "system-node-critical",
          hostPID: true,
          nodeSelector: knob("node.nodeSelector"),
          tolerations: knob("node.tolerations"),
          terminationGracePeriodSeconds: knob("node.terminationGracePeriodSeconds"),
          securityContext: {
            seccompProfile: { type: "RuntimeDefault" },
            // The runtimes' default profile forbids reading /proc/<pid>/ns of other containers and all mounts.
            appArmorProfile: { type: "Unconfined" },
          },
          containers: [container],
          volumes: [
            ...volumes.map(([name, source]) => ({ name, ...(source as object) })),
            ...optionalVolumes.map(([path, name, source]) => when<Templated>(path, { name, ...(source as object) })),
          ],
        },
      },
    },
  },
];
