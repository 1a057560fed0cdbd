/** What this machine gives a process: how AES runs on its processors, and how much is left of what runs out. Read from /proc. */
import { readdir, readFile } from "node:fs/promises";
import { release } from "node:os";

export interface Headroom {
  /** 0 where it is not counted. */
  readonly used: number;
  /** 0 where there is none. */
  readonly limit: number;
}

export interface Machine {
  readonly release: string;
  /** `vaes avx512`, `vaes`, `aes-ni`, `armv8`, or `none`. */
  readonly aes: string;
  /** Of this process. */
  readonly descriptors: Headroom;
  /** Of each user; how many are in use only their owners know. */
  readonly inotifyInstances: Headroom;
  /** Undefined where connections are not tracked. */
  readonly conntrack: Headroom | undefined;
}

export async function readMachine(proc = "/proc"): Promise<Machine> {
  const read = (path: string) => readFile(`${proc}/${path}`, "utf8").catch(() => "");
  const [cpus, limits, inotify, tracked, trackedMost, open] = await Promise.all([
    read("cpuinfo"),
    read("self/limits"),
    read("sys/fs/inotify/max_user_instances"),
    read("sys/net/netfilter/nf_conntrack_count"),
    read("sys/net/netfilter/nf_conntrack_max"),
    readdir(`${proc}/self/fd`).catch(() => []),
  ]);
  return {
    release: release(),
    aes: aesOf(cpus),
    descriptors: { used: open.length, limit: Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0) },
    inotifyInstances: { used: 0, limit: Number(inotify) },
    conntrack: trackedMost === "" ? undefined : { used: Number(tracked), limit: Number(trackedMost) },
  };
}

/** Of /proc/cpuinfo; the first processor speaks for all. */
export function aesOf(cpuinfo: string): string {
  const flags = new Set((/^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? "").trim().split(/\s+/));
  if (flags.has("vaes")) return flags.has("avx512f") ? "vaes avx512" : "vaes";
  if (flags.has("aes")) return /^flags\s*:/m.test(cpuinfo) ? "aes-ni" : "armv8";
  return "none";
}
