/** The control plane: the cluster's watcher and certificate authority. It alone talks to the Kubernetes API. */
import { json, knob, releaseNamespace, type Templated, Text, text, when } from "./knob.ts";
import { controlName, labels, metadata, nodeName } from "./labels.ts";

function environment(name: string, value: Templated): Templated {
  return { name, value };
}

const probe = { httpGet: { path: "/healthz/ready", port: "admin" }, periodSeconds: 2, failureThreshold: 5 };

const container: Templated = {
  name: "control",
  image: text`${knob("image.repository")}:${knob("image.tag")}`,
  imagePullPolicy: knob("image.pullPolicy"),
  command: ["warren", "control", "--config=/etc/warren/config.yaml"],
  env: [
    environment("WARREN_LOG_LEVEL", knob("control.logLevel")),
    environment("WARREN_TRUST_DOMAIN", knob("mesh.trustDomain")),
    environment("WARREN_MESH_CLUSTER_DOMAIN", knob("mesh.clusterDomain")),
    environment("WARREN_MESH_LOCAL_TRAFFIC", knob("mesh.localTraffic")),
    environment("WARREN_MESH_DEFAULT_ACTION", knob("mesh.defaultAction")),
    environment("WARREN_MESH_ROOT_NAMESPACE", releaseNamespace),
  ],
  ports: [
    { name: "grpc", containerPort: 15012 },
    { name: "admin", containerPort: 15014 },
  ],
  // Nothing that kills: first lists of a large cluster from a slow API server take as long as they take, and a restart begins them anew.
  readinessProbe: probe,
  resources: knob("control.resources"),
  securityContext: {
    privileged: false,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  },
  volumeMounts: [{ name: "config", mountPath: "/etc/warren", readOnly: true }],
};

const workload: Templated = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: metadata(controlName, "control"),
  spec: {
    replicas: knob("control.replicas"),
    selector: { matchLabels: labels("control") },
    strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    template: {
      metadata: {
        labels: { ...labels("control"), "warren.dev/mode": "none" },
        annotations: {
          "prometheus.io/scrape": "true",
          "prometheus.io/port": "15014",
          "prometheus.io/path": "/metrics",
        },
      },
      spec: {
        serviceAccountName: controlName,
        // A Service called warren-… would otherwise set variables that look like our own.
        enableServiceLinks: false,
        imagePullSecrets: knob("image.pullSecrets"),
        priorityClassName: "system-cluster-critical",
        nodeSelector: knob("control.nodeSelector"),
        tolerations: knob("control.tolerations"),
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 65532,
          runAsGroup: 65532,
          seccompProfile: { type: "RuntimeDefault" },
        },
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: "kubernetes.io/hostname",
            whenUnsatisfiable: "ScheduleAnyway",
            labelSelector: { matchLabels: labels("control") },
          },
        ],
        containers: [container],
        volumes: [{ name: "config", configMap: { name: controlName } }],
      },
    },
  },
};

/** The configuration file; what is one plain value stands in the environment instead. */
const config = new Text([
  "kubernetes:\n  config: in-cluster\n  namespace: ",
  releaseNamespace,
  "\n  trustedAccounts: [",
  releaseNamespace,
  `/${nodeName}]\nmesh:\n  trustDomainAliases: `,
  json("mesh.trustDomainAliases"),
  `\nservingNames: [${controlName}.`,
  releaseNamespace,
  `.svc, ${controlName}.`,
  releaseNamespace,
  "]\n",
]);

const service: Templated = {
  apiVersion: "v1",
  kind: "Service",
  metadata: metadata(controlName, "control"),
  spec: {
    // Headless: agents see each replica and go to another by themselves.
    clusterIP: "None",
    selector: labels("control"),
    ports: [
      { name: "grpc", port: 15012, targetPort: "grpc" },
      { name: "admin", port: 15014, targetPort: "admin" },
    ],
  },
};

const disruption: Templated = {
  apiVersion: "policy/v1",
  kind: "PodDisruptionBudget",
  metadata: metadata(controlName, "control"),
  spec: { maxUnavailable: 1, selector: { matchLabels: labels("control") } },
};

const network: Templated = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: metadata(controlName, "control"),
  spec: {
    podSelector: { matchLabels: labels("control") },
    policyTypes: ["Ingress"],
    ingress: [
      { ports: [{ port: "grpc" }], from: [{ podSelector: { matchLabels: labels("node") } }] },
      // The scraper and the kubelet; what it shows is neither secret nor writable.
      { ports: [{ port: "admin" }] },
    ],
  },
};

/** Bounds nothing: some clusters let pods of these classes in only where a quota speaks of them. */
const priorities: Templated = {
  apiVersion: "v1",
  kind: "ResourceQuota",
  metadata: metadata("warren", "control"),
  spec: {
    hard: { pods: "1G" },
    scopeSelector: {
      matchExpressions: [
        {
          scopeName: "PriorityClass",
          operator: "In",
          values: ["system-node-critical", "system-cluster-critical"],
        },
      ],
    },
  },
};

export const controlObjects: readonly Templated[] = [
  when("priorityQuota", priorities),
  {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: metadata(controlName, "control"),
    data: { "config.yaml": config },
  },
  workload,
  service,
  disruption,
  when("control.networkPolicy", network),
];
