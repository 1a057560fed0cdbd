/** The bench's pods in a cluster: the same three in a namespace of the mesh and in one without it. */
import { MeshError } from "../../src/lib/errors.ts";
import { echoPort, iperfPort } from "../lab/manifests.ts";
import type { Variant } from "../model.ts";
import type { Kubectl } from "./tool.ts";

export const clusterVariants = ["direct", "warren"] as const;

/** Beside the client, and on another node. */
export type Place = "near" | "far";

const readyMs = 5 * 60_000;

export function namespaceOf(variant: Variant): string {
  return `warren-bench-${variant}`;
}

export interface PodsOptions {
  /** Of the client and the near server, and of the far server. */
  readonly nodes: readonly [string, string];
  readonly image: string;
}

export function podManifests(variant: Variant, { nodes: [here, there], image }: PodsOptions): string {
  const namespace = namespaceOf(variant);
  const labels = { "warren.dev/mode": variant === "direct" ? "none" : "ambient" };
  const serve = [
    container("echo", image, ["warren_load", "serve", `--port=${echoPort}`], echoPort),
    container("iperf", image, ["iperf3", "--server", "--port", String(iperfPort)], iperfPort),
  ];
  const items = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace, labels } },
    ...["client", "near", "far"].map((name) => ({
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name, namespace },
    })),
    pod(namespace, "client", here, [container("load", image, ["sleep", "infinity"])]),
    pod(namespace, "near", here, serve),
    pod(namespace, "far", there, serve),
  ];
  return JSON.stringify({ apiVersion: "v1", kind: "List", items });
}

function container(name: string, image: string, command: readonly string[], port?: number) {
  const ports = port === undefined ? [] : [{ containerPort: port }];
  const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
  return { name, image, imagePullPolicy: "IfNotPresent", command, ports, securityContext };
}

function pod(namespace: string, name: string, nodeName: string, containers: readonly object[]) {
  const securityContext = {
    runAsNonRoot: true,
    runAsUser: 65_534,
    seccompProfile: { type: "RuntimeDefault" },
    // As in the lab: short flows would run out of ports. Of the sysctls that a pod may set for itself this is one.
    sysctls: [{ name: "net.ipv4.ip_local_port_range", value: "10240 65000" }],
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace },
    spec: {
      nodeName,
      serviceAccountName: name,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      securityContext,
      containers,
    },
  };
}

/** Addresses of the servers, once all of them run. */
export async function startPods(
  kubectl: Kubectl,
  variant: Variant,
  options: PodsOptions,
): Promise<Readonly<Record<Place, string>>> {
  const namespace = namespaceOf(variant);
  await kubectl.run(["apply", "--filename=-"], { stdin: podManifests(variant, options) });
  const wait = ["wait", "--for=condition=Ready", "pod", "--all", `--timeout=${readyMs / 1000}s`];
  await kubectl.run(["--namespace", namespace, ...wait], { timeoutMs: readyMs + 10_000 });
  const address = async (name: Place): Promise<string> => {
    const got = await kubectl.json<{ status?: { podIP?: string } }>(["--namespace", namespace, "get", "pod", name]);
    if (got.status?.podIP === undefined)
      throw new MeshError("MESH_BENCH_POD", `pod ${namespace}/${name} is ready and has no address`);
    return got.status.podIP;
  };
  return { near: await address("near"), far: await address("far") };
}

export async function removePods(kubectl: Kubectl): Promise<void> {
  const namespaces = clusterVariants.map(namespaceOf);
  await kubectl.run(["delete", "namespace", ...namespaces, "--ignore-not-found", "--wait=true"], {
    timeoutMs: readyMs,
  });
}
