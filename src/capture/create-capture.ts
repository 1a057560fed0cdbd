/** Puts capture together: probes the kernel, opens the backends asked for, exempts the kubelet and the agent. */
import { closeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type CaptureAddon, loadCaptureAddon } from "./addon.ts";
import type { CaptureBackend, CapturePorts } from "./backend.ts";
import type { BackendKind, Capture, KernelSupport, Netns } from "./capture.ts";
import { cgroup2Mount, findPodsCgroup, ownCgroup } from "./cgroup.ts";
import { EbpfBackend, removeEbpfPins } from "./ebpf/ebpf-backend.ts";
import { CaptureError } from "./errors.ts";
import { ExternalCapture } from "./external-capture.ts";
import { NftablesBackend, nftablesMissing } from "./nftables/nftables-backend.ts";
import { NodeCapture } from "./node-capture.ts";
import { SelfProbe } from "./self-probe.ts";

const ownNetns = "/proc/self/ns/net";

export interface CaptureOptions {
  /** A folder on a BPF file system that survives the agent; made if its parent is there. One per agent and node. */
  readonly pinDirectory: string;
  /** The cgroup v2 that holds all pods, e.g. `/sys/fs/cgroup/kubepods.slice`. Absent: looked for where kubelets keep it. */
  readonly podsCgroup?: string;
  /** Whose connections to pods are probes. */
  readonly kubeletCgroup?: string;
  /** The agent's own cgroup, whose deliveries reach applications and whose connects are not captured. Absent: read from /proc. */
  readonly agentCgroup?: string;
  /** `auto`: eBPF where the kernel can, nftables for pods where it cannot or that ask for it. */
  readonly backend: "auto" | BackendKind;
  readonly ports: CapturePorts;
  /** The node's own netns, where the kubelet lives, as a path. Absent: the agent's, for an agent that shares it. */
  readonly hostNetns?: string;
}

async function supportOf(addon: CaptureAddon, own: Netns): Promise<KernelSupport> {
  const probe = await addon.probeKernel();
  const cgroup2 = cgroup2Mount(await readFile("/proc/self/mounts", "utf8"));
  const nftMissing = await nftablesMissing(addon);
  const ebpfMissing = own.cookie === 0n ? [...probe.ebpfMissing, "SO_NETNS_COOKIE (Linux 5.14)"] : probe.ebpfMissing;
  return {
    release: probe.release,
    cgroup2,
    backends: {
      ebpf: { usable: ebpfMissing.length === 0, missing: ebpfMissing },
      nftables: { usable: nftMissing === undefined, missing: nftMissing === undefined ? [] : [nftMissing] },
    },
  };
}

function withMissing(support: KernelSupport, kind: BackendKind, missing: string): KernelSupport {
  const backend = support.backends[kind];
  return {
    ...support,
    backends: { ...support.backends, [kind]: { ...backend, missing: [...backend.missing, missing] } },
  };
}

async function openBackend(
  kind: BackendKind,
  addon: CaptureAddon,
  options: CaptureOptions & { readonly podsCgroup: string },
): Promise<CaptureBackend> {
  const host = addon.netnsOpen(options.hostNetns ?? ownNetns);
  try {
    if (kind === "ebpf") {
      return await EbpfBackend.open(addon, options, host);
    }
    // The kubelet probes from one of these; nftables cannot tell it from others by anything better.
    const nodeAddresses = (await addon.netnsAddresses(host.fd)).map(({ address }) => address);
    return new NftablesBackend(addon, { ...options, nodeAddresses });
  } finally {
    closeSync(host.fd);
  }
}

async function podsCgroupOf(options: CaptureOptions, mount: string | undefined): Promise<string> {
  const found = options.podsCgroup ?? (mount === undefined ? undefined : await findPodsCgroup(mount));
  if (found === undefined) {
    throw new CaptureError(
      "MESH_CGROUP_UNUSABLE",
      `no kubelet keeps pods below ${mount ?? "a cgroup v2 mount"}; set capture.podsCgroup to the cgroup that holds them`,
    );
  }
  return found;
}

/** Capture of pods that another agent redirects. `agentCgroup`: where probes come from; absent: read from /proc. */
export async function createExternalCapture(options: Pick<CaptureOptions, "agentCgroup" | "ports">): Promise<Capture> {
  const cgroup2 = cgroup2Mount(await readFile("/proc/self/mounts", "utf8"));
  const cgroup = options.agentCgroup ?? (await ownCgroup(cgroup2));
  if (cgroup === undefined)
    throw new CaptureError("MESH_CGROUP_UNUSABLE", "no cgroup v2 hierarchy is mounted here, and probes need a place");
  const addon = loadCaptureAddon();
  const selfProbe = new SelfProbe(addon, { podsCgroup: cgroup, ports: options.ports });
  return new ExternalCapture({ addon, selfProbe }, { ports: options.ports, cgroup2 });
}

/** Throws `MESH_BACKEND_UNUSABLE` when no asked backend can work, naming what is missing. */
export async function createCapture(asked: CaptureOptions): Promise<Capture> {
  const addon = loadCaptureAddon();
  const own = addon.netnsOpen(ownNetns);
  const backends: CaptureBackend[] = [];
  try {
    let support = await supportOf(addon, own);
    const options = { ...asked, podsCgroup: await podsCgroupOf(asked, support.cgroup2) };
    const wanted: readonly BackendKind[] = options.backend === "auto" ? ["ebpf", "nftables"] : [options.backend];
    for (const kind of wanted) {
      if (support.backends[kind].usable) {
        const backend = await openBackend(kind, addon, options);
        backends.push(backend);
        if (backend.degraded !== undefined) {
          support = withMissing(support, kind, backend.degraded);
        }
      }
    }
    if (backends.length === 0) {
      const reasons = wanted.map((kind) => `${kind}: ${support.backends[kind].missing.join("; ")}`);
      throw new CaptureError("MESH_BACKEND_UNUSABLE", `this kernel can capture by none of ${reasons.join(" | ")}`);
    }
    const retired: CaptureBackend[] = [];
    if (!wanted.includes("ebpf")) {
      await removeEbpfPins(options.pinDirectory);
    } else if (!wanted.includes("nftables") && support.backends.nftables.usable) {
      retired.push(await openBackend("nftables", addon, options));
    }
    const selfProbe = new SelfProbe(addon, options);
    const capture = new NodeCapture({ addon, backends, retired, selfProbe, support, own }, options);
    const agentCgroup = options.agentCgroup ?? (await ownCgroup(support.cgroup2));
    if (agentCgroup !== undefined) {
      await capture.exempt(agentCgroup, "agent");
    }
    if (options.kubeletCgroup !== undefined) {
      await capture.exempt(options.kubeletCgroup, "kubelet");
    }
    return capture;
  } catch (error) {
    for (const backend of backends) {
      await backend.close();
    }
    closeSync(own.fd);
    throw error;
  }
}
