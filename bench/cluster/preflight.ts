/** What a cluster target needs of the machine and of the cluster, asked before anything is made. Each problem says what to do about it. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Kubectl, lastLine, type ToolName, tryTool } from "./tool.ts";

/** What kind's own page of known issues asks for clusters of several nodes. */
const inotify = { max_user_instances: 512, max_user_watches: 65_536 } as const;
/** Three nodes of kind with a mesh and the bench's pods, and what they are measured with. */
const leastMemoryBytes = 4 * 2 ** 30;

export interface Machine {
  /** Folder that has `sys/fs/inotify` and `meminfo`: /proc, but for tests. */
  readonly proc: string;
  /** The checkout. */
  readonly root: string;
  readonly signal: AbortSignal;
}

/** Where the product's image may be described; the first that is there is built. */
export const dockerfiles = ["Dockerfile", "deploy/Dockerfile"] as const;

export async function kindProblems(machine: Machine): Promise<readonly string[]> {
  const problems = [
    await missingTool("docker", ["info", "--format", "{{.ServerVersion}}"], "install it and start its daemon", machine),
    await missingTool("kind", ["version"], "see https://kind.sigs.k8s.io", machine),
    await missingTool("kubectl", ["version", "--client"], "see https://kubernetes.io/docs/tasks/tools", machine),
    ...inotifyProblems(machine.proc),
    memoryProblem(machine.proc),
    ...deploymentProblems(machine.root),
    dockerfiles.some((path) => existsSync(join(machine.root, path)))
      ? undefined
      : `an image to deploy: there is no ${dockerfiles.join(" and no ")} in the checkout`,
  ];
  return problems.filter((problem) => problem !== undefined);
}

async function missingTool(
  name: ToolName,
  args: readonly string[],
  remedy: string,
  { signal }: Machine,
): Promise<string | undefined> {
  const { code, stderr } = await tryTool(name, args, { signal, timeoutMs: 30_000 });
  if (code === 0) return undefined;
  return code === 127 ? `${name}: not on PATH; ${remedy}` : `${name}: ${lastLine(stderr)}; ${remedy}`;
}

function inotifyProblems(proc: string): string[] {
  return Object.entries(inotify).flatMap(([name, wanted]) => {
    const found = Number(readFileSync(join(proc, "sys/fs/inotify", name), "utf8"));
    return found >= wanted ? [] : [`inotify: fs.inotify.${name} is ${found}; sysctl -w fs.inotify.${name}=${wanted}`];
  });
}

function memoryProblem(proc: string): string | undefined {
  const [, kilobytes = "0"] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync(join(proc, "meminfo"), "utf8")) ?? [];
  const found = Number(kilobytes) * 1024;
  if (found >= leastMemoryBytes) return undefined;
  const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return `memory: ${gibibytes(found)} available, ${gibibytes(leastMemoryBytes)} needed`;
}

function deploymentProblems(root: string): string[] {
  const path = "deploy/kustomization.yaml";
  return existsSync(join(root, path)) ? [] : [`something to deploy: there is no ${path} in the checkout`];
}

export interface ClusterNode {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec: { readonly unschedulable?: boolean; readonly taints?: readonly { readonly effect: string }[] };
  readonly status: {
    readonly capacity: Readonly<Record<string, string>>;
    readonly nodeInfo: Readonly<
      Record<"kernelVersion" | "osImage" | "containerRuntimeVersion" | "kubeletVersion", string>
    >;
  };
}

/** That pods without tolerations may run on. */
export function workers(nodes: readonly ClusterNode[]): readonly ClusterNode[] {
  return nodes.filter(
    ({ spec: { unschedulable, taints = [] } }) =>
      unschedulable !== true && !taints.some(({ effect }) => effect === "NoSchedule" || effect === "NoExecute"),
  );
}

/** `image`: what to deploy, of a mesh that is not there yet. */
export async function clusterProblems(
  kubectl: Kubectl,
  machine: Machine,
  images: { readonly mesh: string | undefined; readonly load: string | undefined },
): Promise<readonly string[]> {
  const client = await missingTool(
    "kubectl",
    ["version", "--client"],
    "see https://kubernetes.io/docs/tasks/tools",
    machine,
  );
  if (client !== undefined) return [client];
  const asked = await kubectl.try(["get", "nodes", "--output=json"]);
  if (asked.code !== 0) return [`the cluster: ${lastLine(asked.stderr)}; check the kubeconfig and its current context`];
  const { items } = JSON.parse(asked.stdout) as { items: ClusterNode[] };
  const problems: string[] = [];
  const usable = workers(items).length;
  if (usable < 2) problems.push(`nodes: ${usable} of ${items.length} take pods, and both placements need two`);
  if (images.load === undefined)
    problems.push(
      "--load-image: the bench's pods need an image with iperf3 and warren_load that the cluster can pull; build it from bench/cluster/Dockerfile",
    );
  const may = await kubectl.try(["auth", "can-i", "create", "namespaces"]);
  if (may.code !== 0) problems.push("permission: this user may not create namespaces in the cluster");
  if (!(await hasMesh(kubectl))) {
    problems.push(...deploymentProblems(machine.root));
    if (images.mesh === undefined)
      problems.push("--image: no Warren runs in the cluster, and the image to deploy must be one that it can pull");
    // Taking away what was deployed would take them away too, and every policy in the cluster with them.
    const { code } = await kubectl.try(["get", "crd", policyCrd]);
    if (code === 0)
      problems.push(
        `a cluster without ${policyCrd}: somebody's policies may be there; install Warren yourself and measure that`,
      );
  }
  return problems;
}

const policyCrd = "authorizationpolicies.security.istio.io";
export const meshNamespace = "warren-system";
export const agentDaemonSet = "warren-node";
export const controlDeployment = "warren-control";

export async function hasMesh(kubectl: Kubectl): Promise<boolean> {
  const { code } = await kubectl.try(["--namespace", meshNamespace, "get", "daemonset", agentDaemonSet]);
  return code === 0;
}
