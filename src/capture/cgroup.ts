import { access, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Where the cgroup v2 hierarchy is mounted, from the text of /proc/mounts; undefined when it is not. */
export function cgroup2Mount(mounts: string): string | undefined {
  for (const line of mounts.split("\n")) {
    const [, mountPoint, type] = line.split(" ");
    if (type === "cgroup2" && mountPoint !== undefined) {
      // proc(5): blanks and backslashes in paths are octal escapes.
      return mountPoint.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      );
    }
  }
  return undefined;
}

/** The cgroup v2 path of a process, from the text of its /proc/<pid>/cgroup. */
export function cgroup2Path(cgroupFile: string): string | undefined {
  return /^0::(\/.*)$/m.exec(cgroupFile)?.[1];
}

/** This process's cgroup as a folder; undefined without cgroup v2. */
export async function ownCgroup(mount: string | undefined): Promise<string | undefined> {
  const path = cgroup2Path(await readFile("/proc/self/cgroup", "utf8"));
  return mount === undefined || path === undefined ? undefined : join(mount, path);
}

/** Below the root of the hierarchy: the kubelet's systemd and cgroupfs drivers, and both once more in a node that is a container. */
const podsCgroups = ["kubepods.slice", "kubepods", "kubelet.slice/kubelet-kubepods.slice", "kubelet/kubepods"];

/** The cgroup that the kubelet keeps all pods in, as a folder; undefined where no kubelet has made one. */
export async function findPodsCgroup(mount: string): Promise<string | undefined> {
  for (const name of podsCgroups) {
    const folder = join(mount, name);
    const there = await access(folder).then(
      () => true,
      () => false,
    );
    if (there) return folder;
  }
  return undefined;
}
