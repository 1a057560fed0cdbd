/** What docker, kind and kubectl say to the command lines of a run, cut down to what is read of it. */
import type { ClusterNode } from "../../../../bench/cluster/preflight.ts";
import type { Reply } from "./fake-tools.ts";

const node = (name: string, taints: readonly { key: string; effect: string }[] = []): ClusterNode => ({
  metadata: { name, labels: { "kubernetes.io/hostname": name } },
  spec: { taints },
  status: {
    capacity: { cpu: "2", memory: "16384000Ki" },
    nodeInfo: {
      kernelVersion: "6.1.0-18-amd64",
      osImage: "Debian GNU/Linux 12 (bookworm)",
      containerRuntimeVersion: "containerd://2.1.3",
      kubeletVersion: "v1.34.0",
    },
  },
});

const controlPlane = node("warren-bench-control-plane", [
  { key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule" },
]);

export const nodes = { items: [controlPlane, node("warren-bench-worker"), node("warren-bench-worker2")] };

const daemonSet = { spec: { selector: { matchLabels: { "app.kubernetes.io/name": "warren-node" } } } };
const agents = { items: [{ metadata: { name: "warren-node-7xk2p" } }, { metadata: { name: "warren-node-q9d4f" } }] };

/** Counters grow from call to call, as they do when somebody uses the agents. */
const metrics = `# HELP warren_build_info What runs here.
# TYPE warren_build_info gauge
warren_build_info{version="0.1.0",engine="native",node="24.21.0",openssl="3.5.5"} 1
# TYPE istio_tcp_connections_opened_total counter
istio_tcp_connections_opened_total{reporter="source",connection_security_policy="mutual_tls"} {{calls}}00
istio_tcp_connections_opened_total{reporter="source",connection_security_policy="none"} 3
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total {{calls}}.25
`;

const iperf = { end: { sum_received: { bytes: 1_872_625_664, bits_per_second: 14_958_373_293.2 } } };
const histogram = {
  count: 4,
  max: 90_000,
  buckets: [
    [5855, 1],
    [5919, 2],
    [90_111, 1],
  ],
};
const pingpong = { requests: 4, seconds: 1, unanswered: 0, latency: histogram, errors: {} };
const openLoop = { ...pingpong, sent: 4, achieved: 1 };
const flows = { flows: 4, seconds: 1, connect: histogram, latency: histogram, errors: {} };
const idle = { open: 8, seconds: 0.0002, errors: {} };

export const kubectlReplies: readonly Reply[] = [
  { tool: "kubectl", args: "version --client", stdout: "Client Version: v1.34.1\nKustomize Version: v5.7.1\n" },
  {
    tool: "kubectl",
    args: "get --raw /version$",
    stdout: JSON.stringify({ major: "1", minor: "34", gitVersion: "v1.34.0" }),
  },
  { tool: "kubectl", args: "get nodes", stdout: JSON.stringify(nodes) },
  { tool: "kubectl", args: "auth can-i", stdout: "yes\n" },
  { tool: "kubectl", args: "get daemonset warren-node --output=json", stdout: JSON.stringify(daemonSet) },
  { tool: "kubectl", args: "get pods --selector=app.kubernetes.io/name=warren-node", stdout: JSON.stringify(agents) },
  { tool: "kubectl", args: "get --raw .*:15020/proxy/metrics$", stdout: metrics },
  { tool: "kubectl", args: "apply --kustomize", stdout: "daemonset.apps/warren-node created\n" },
  { tool: "kubectl", args: "set image", stdout: "daemonset.apps/warren-node image updated\n" },
  { tool: "kubectl", args: "rollout status", stdout: 'daemon set "warren-node" successfully rolled out\n' },
  { tool: "kubectl", args: "apply --filename=-", stdout: "pod/client created\n" },
  { tool: "kubectl", args: "wait --for=condition=Ready", stdout: "pod/client condition met\n" },
  { tool: "kubectl", args: "get pod near", stdout: JSON.stringify({ status: { podIP: "10.244.1.5" } }) },
  { tool: "kubectl", args: "get pod far", stdout: JSON.stringify({ status: { podIP: "10.244.2.7" } }) },
  { tool: "kubectl", args: "-- cat /sys/class/net/eth0/mtu", stdout: "1500\n" },
  { tool: "kubectl", args: "-- iperf3", stdout: JSON.stringify(iperf) },
  { tool: "kubectl", args: "-- warren_load pingpong", stdout: JSON.stringify(pingpong) },
  { tool: "kubectl", args: "-- warren_load openloop", stdout: JSON.stringify(openLoop) },
  { tool: "kubectl", args: "-- warren_load flows", stdout: JSON.stringify(flows) },
  { tool: "kubectl", args: "-- warren_load idle", stdout: JSON.stringify(idle) },
  {
    tool: "kubectl",
    args: "get crd",
    code: 1,
    stderr: 'Error from server (NotFound): customresourcedefinitions.apiextensions.k8s.io "x" not found\n',
  },
  { tool: "kubectl", args: "delete", stdout: "deleted\n" },
];

/** A cluster without the mesh. */
export const noMesh: Reply = {
  tool: "kubectl",
  args: "get daemonset warren-node$",
  code: 1,
  stderr: 'Error from server (NotFound): daemonsets.apps "warren-node" not found\n',
};

export const someMesh: Reply = { tool: "kubectl", args: "get daemonset warren-node$", stdout: "warren-node   3\n" };

export const kindReplies: readonly Reply[] = [
  { tool: "docker", args: "^info", stdout: "28.2.2\n" },
  { tool: "docker", args: "^build", stderr: "writing image sha256:5f2c done\n" },
  { tool: "kind", args: "^version", stdout: "kind v0.30.0 go1.24.6 linux/amd64\n" },
  { tool: "kind", args: "^create cluster", stderr: "Creating cluster ...\n ✓ Ready after 16s 💚\n" },
  { tool: "kind", args: "^load docker-image", stderr: "Image loaded\n" },
  { tool: "kind", args: "^delete cluster", stderr: "Deleted nodes\n" },
];
