/** A node of the lab: a sandbox that holds its network and mounts, the cgroups of what runs on it, and its kubelet stand-in. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NetworkPlugins } from "./kubelet/network-plugins.ts";
import { Prober } from "./kubelet/prober.ts";
import { clusterAddresses } from "./machine/addresses.ts";
import type { Cgroup } from "./machine/cgroup.ts";
import type { RunOptions, RunResult } from "./machine/launch.ts";
import { type DualStack, nodeScript } from "./machine/network.ts";
import { Sandbox } from "./machine/sandbox.ts";

export interface NodeRequest {
  readonly index: number;
  readonly nodes: readonly number[];
  readonly fabric: Sandbox;
  /** The lab's cgroup. */
  readonly cgroup: Cgroup;
  /** The lab's state folder. */
  readonly folder: string;
  /** What the node's programs find in /etc/hosts. */
  readonly hosts: string;
}

interface NodeMounts {
  readonly bpffs: string;
  readonly tmpfs: string;
}

export function nodeName(index: number): string {
  return `node-${index}`;
}

/** Where on this node the container runtime and the agent find each other. */
export interface NodePaths {
  readonly criSocket: string;
  readonly cniSocket: string;
  readonly cniBinDir: string;
  readonly cniConfDir: string;
}

export class LabNode {
  readonly index: number;
  readonly name: string;
  readonly addresses: DualStack;
  readonly podCidrs: DualStack;
  readonly sandbox: Sandbox;
  readonly prober: Prober;
  readonly cgroup: Cgroup;
  /** Parent of the node's pods. */
  readonly kubepods: Cgroup;
  readonly kubeletCgroup: Cgroup;
  readonly agentCgroup: Cgroup;
  /** The node's bpffs, mounted in its own mount namespace alone. */
  readonly bpffs: string;
  /** A tmpfs of the node, as /run is on a machine; in its own mount namespace too. */
  readonly tmpfs: string;
  readonly paths: NodePaths;
  readonly networkPlugins: NetworkPlugins;
  #execs = 0;

  private constructor(request: NodeRequest, cgroup: Cgroup, sandbox: Sandbox, mounts: NodeMounts) {
    this.index = request.index;
    this.name = nodeName(request.index);
    this.addresses = clusterAddresses.node(request.index);
    this.podCidrs = clusterAddresses.podCidrs(request.index);
    this.sandbox = sandbox;
    this.cgroup = cgroup;
    this.kubepods = cgroup.child("kubepods").create();
    this.kubeletCgroup = cgroup.child("kubelet").create();
    this.agentCgroup = cgroup.child("agent").create();
    this.bpffs = mounts.bpffs;
    this.tmpfs = mounts.tmpfs;
    this.prober = new Prober(sandbox.place(this.kubeletCgroup));
    const folder = join(request.folder, "nodes", this.name);
    this.paths = {
      criSocket: join(folder, "cri.sock"),
      cniSocket: join(folder, "cni.sock"),
      cniBinDir: join(folder, "cni", "bin"),
      cniConfDir: join(folder, "cni", "net.d"),
    };
    this.networkPlugins = new NetworkPlugins(
      { run: (argv, options) => this.run(argv, options) },
      { binDir: this.paths.cniBinDir, confDir: this.paths.cniConfDir },
    );
  }

  static async create(request: NodeRequest, signal: AbortSignal): Promise<LabNode> {
    const name = nodeName(request.index);
    const cgroup = request.cgroup.child(name);
    const folder = join(request.folder, "nodes", name);
    const mounts = { bpffs: join(folder, "bpf"), tmpfs: join(folder, "run") };
    for (const path of Object.values(mounts)) mkdirSync(path, { recursive: true });
    const hosts = join(folder, "hosts");
    writeFileSync(hosts, request.hosts);
    const sandbox = await Sandbox.create(
      {
        what: `node ${name}`,
        cgroup: cgroup.child("sandbox"),
        fresh: ["net", "mount"],
        script: nodeScript(request.fabric.pid, name, request.index, request.nodes, { ...mounts, hosts }),
      },
      signal,
    );
    return new LabNode(request, cgroup, sandbox, mounts);
  }

  /** Runs a program on the node, outside its pods. */
  run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.sandbox.run(this.cgroup.child(this.nextExecName()), argv, options);
  }

  /** A cgroup name that nothing on the node has. */
  nextExecName(): string {
    this.#execs++;
    return `exec-${this.#execs}`;
  }
}
