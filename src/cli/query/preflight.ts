/** What an installation would meet: on this machine by trying, and in the cluster of the kubeconfig by asking. */
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { messageOf } from "../../lib/errors.ts";
import { type Machine, readMachine } from "../../lib/machine.ts";
import { defaultMeshNamespace } from "../../xds/operator-target.ts";
import { type Check, checkOf, skipped } from "./check-report.ts";
import type { MeshConnectOptions } from "./mesh-client.ts";

export interface KernelFacts {
  readonly ebpfMissing: readonly string[];
  readonly nftablesMissing: readonly string[];
}

export interface MachineFacts {
  readonly platform: string;
  readonly root: boolean;
  readonly machine: Machine;
  /** Undefined where it could not be tried, with why. */
  readonly kernel: KernelFacts | { readonly untried: string };
  /** Text of /proc/self/mounts. */
  readonly mounts: string;
  /** Ports of the agent that are taken here. */
  readonly takenPorts: readonly number[];
  /** Program names of other meshes' node agents that run here. */
  readonly otherMeshes: readonly string[];
}

/** The agent's own ports on a node (docs/configuration.md). */
const agentPorts = [15_000, 15_020, 15_021];

export async function preflight(options: MeshConnectOptions): Promise<Check[]> {
  const checks = machineChecks(await machineFacts());
  const group = "cluster";
  const base = { code: "cluster", group, name: "the cluster can take the mesh" };
  const { hasKubeconfig } = await import("./mesh-client.ts");
  if (options.context === undefined && !hasKubeconfig(process.env))
    return [...checks, skipped(base, "there is no kubeconfig here")];
  const { clusterChecks } = await import("./cluster-preflight.ts");
  const [{ ApiClient, apiClientDefaults }] = [await import("../../control/kubernetes/api-client.ts")];
  try {
    const { context = "", meshNamespace = defaultMeshNamespace } = options;
    const api = new ApiClient({ ...apiClientDefaults, context });
    return [...checks, ...(await clusterChecks(api, meshNamespace, AbortSignal.timeout(clusterMs)))];
  } catch (error) {
    return [...checks, checkOf(base, "failure", [messageOf(error)], "check the kubeconfig and its context")];
  }
}

const clusterMs = 60_000;

async function machineFacts(): Promise<MachineFacts> {
  return {
    platform: process.platform,
    root: process.getuid?.() === 0,
    machine: await readMachine(),
    kernel: await tryKernel(),
    mounts: existsSync("/proc/self/mounts") ? readFileSync("/proc/self/mounts", "utf8") : "",
    takenPorts: (await Promise.all(agentPorts.map(async (port) => ((await isFree(port)) ? [] : [port])))).flat(),
    otherMeshes: await otherMeshes(),
  };
}

/** As an agent does at its start: by loading programs and rules, not by reading versions. */
async function tryKernel(): Promise<MachineFacts["kernel"]> {
  if (process.platform !== "linux") return { untried: `agents run on Linux, this is ${process.platform}` };
  if (process.getuid?.() !== 0) return { untried: "only root may try: run it with sudo" };
  try {
    const [{ loadCaptureAddon }, { nftablesMissing }] = [
      await import("../../capture/addon.ts"),
      await import("../../capture/nftables/nftables-backend.ts"),
    ];
    const addon = loadCaptureAddon();
    const [{ ebpfMissing }, missing] = [await addon.probeKernel(), await nftablesMissing(addon)];
    return { ebpfMissing, nftablesMissing: missing === undefined ? [] : [missing] };
  } catch (error) {
    return { untried: messageOf(error) };
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function otherMeshes(): Promise<string[]> {
  const { readdir, readFile } = await import("node:fs/promises");
  const known = new Set(["ztunnel", "install-cni", "kmesh-daemon", "linkerd2-proxy"]);
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name));
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")));
  return [...new Set(names.map((name) => name.trim()).filter((name) => known.has(name)))].sort();
}

const inotifyWanted = 256;
const descriptorsWanted = 65_536;

export function machineChecks(facts: MachineFacts): Check[] {
  const { platform, root, machine, kernel, mounts, takenPorts, otherMeshes: others } = facts;
  const group = "this machine";
  const features = { code: "kernel-features", group, name: "the kernel can redirect traffic" };
  const has = (type: string) => new RegExp(`^\\S+ \\S+ ${type} `, "m").test(mounts);
  return [
    checkOf(
      { code: "linux", group, name: "it runs Linux" },
      "failure",
      platform === "linux" ? [] : [platform],
      "agents run on Linux; the verbs run anywhere",
      machine.release,
    ),
    checkOf(
      { code: "root", group, name: "root looks" },
      "warning",
      root ? [] : ["some things could not be tried"],
      "run it with sudo",
    ),
    "untried" in kernel ? skipped(features, kernel.untried) : kernelCheck(features, kernel),
    checkOf(
      { code: "cgroup2", group, name: "cgroup v2 is mounted" },
      "warning",
      has("cgroup2") ? [] : ["no cgroup2 in /proc/self/mounts"],
      "eBPF capture hooks pods' cgroups; without it nftables captures",
    ),
    checkOf(
      { code: "bpffs", group, name: "a BPF file system is mounted" },
      "warning",
      has("bpf") ? [] : ["no bpf in /proc/self/mounts"],
      "mount -t bpf bpf /sys/fs/bpf: redirection is pinned there to outlive the agent",
    ),
    checkOf(
      { code: "ports", group, name: "the agent's ports are free" },
      "failure",
      takenPorts.map((port) => `${port} is taken`),
      "set admin, metrics or readiness to another port, or stop what holds it (ss -ltnp)",
      agentPorts.join(", "),
    ),
    checkOf(
      { code: "other-meshes", group, name: "no other mesh runs here" },
      "failure",
      others.map((name) => `${name} runs`),
      "two meshes would fight over the same connections: take its pods out first, see docs/migration.md",
    ),
    checkOf(
      { code: "aes", group, name: "the processor encrypts in hardware" },
      "warning",
      machine.aes === "none" ? ["no AES instructions"] : [],
      "throughput through tunnels is a fraction; a hypervisor may be hiding them",
      machine.aes,
    ),
    checkOf(
      { code: "inotify", group, name: "inotify instances suffice" },
      "warning",
      machine.inotifyInstances.limit < inotifyWanted ||
        machine.inotifyInstances.used > 0.8 * machine.inotifyInstances.limit
        ? [`${machine.inotifyInstances.used} of ${machine.inotifyInstances.limit} to a user are in use`]
        : [],
      "sysctl fs.inotify.max_user_instances=8192",
      `${machine.inotifyInstances.used} of ${machine.inotifyInstances.limit} to a user`,
    ),
    checkOf(
      { code: "descriptors", group, name: "open files suffice" },
      "warning",
      machine.descriptors.limit < descriptorsWanted ? [`the limit here is ${machine.descriptors.limit}`] : [],
      "an agent holds two for each connection: raise LimitNOFILE of the container runtime",
      String(machine.descriptors.limit),
    ),
  ];
}

function kernelCheck(
  features: Pick<Check, "code" | "group" | "name">,
  { ebpfMissing, nftablesMissing }: KernelFacts,
): Check {
  const usable = [...(ebpfMissing.length === 0 ? ["ebpf"] : []), ...(nftablesMissing.length === 0 ? ["nftables"] : [])];
  return checkOf(
    features,
    usable.length === 0 ? "failure" : "warning",
    [
      ...(ebpfMissing.length === 0 ? [] : [`ebpf lacks ${ebpfMissing.join(", ")}`]),
      ...(nftablesMissing.length === 0 ? [] : [`nftables lacks ${nftablesMissing.join(", ")}`]),
    ],
    usable.length === 0
      ? "a newer kernel, or its modules, are needed"
      : `pods would be captured with ${usable.join(" or ")}`,
    usable.join(", "),
  );
}
