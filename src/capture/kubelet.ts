import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { cgroup2Path } from "./cgroup.ts";

/** Programs that are, or hold, a kubelet: plain, k3s, RKE2, MicroK8s. */
const kubeletNames = new Set(["kubelet", "k3s", "k3s-server", "k3s-agent", "rke2", "kubelite"]);

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    // The process has ended meanwhile.
    return "";
  }
}

/**
 * The kubelet's cgroup as a folder, found by the name of its process; undefined when none is seen, or when its cgroup lies outside
 * of what this process's cgroup namespace shows. It changes when the kubelet restarts in a new scope: look again now and then.
 */
export async function findKubeletCgroup(cgroup2Mount: string, procRoot = "/proc"): Promise<string | undefined> {
  for (const pid of await readdir(procRoot)) {
    if (!/^\d+$/.test(pid) || !kubeletNames.has((await textOf(join(procRoot, pid, "comm"))).trim())) {
      continue;
    }
    const path = cgroup2Path(await textOf(join(procRoot, pid, "cgroup")));
    if (path !== undefined && !path.startsWith("/..")) {
      return join(cgroup2Mount, path);
    }
  }
  return undefined;
}
