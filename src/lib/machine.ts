/** What this machine gives a process: how AES runs on its processors, and how much is left of what runs out. Read from /proc. */
import { closeSync, openSync, readSync } from "node:fs";
import { readdir, readFile, readlink, stat } from "node:fs/promises";
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
  /** Of each user; in use are those of this process's user that its /proc shows. */
  readonly inotifyInstances: Headroom;
  /** Undefined where connections are not tracked. */
  readonly conntrack: Headroom | undefined;
}

export async function readMachine(proc = "/proc"): Promise<Machine> {
  const read = (path: string) => readFile(`${proc}/${path}`, "utf8").catch(() => "");
  const [limits, inotify, inotifyUsed, tracked, trackedMost, open] = await Promise.all([
    read("self/limits"),
    read("sys/fs/inotify/max_user_instances"),
    inotifyInUse(proc),
    read("sys/net/netfilter/nf_conntrack_count"),
    read("sys/net/netfilter/nf_conntrack_max"),
    readdir(`${proc}/self/fd`).catch(() => []),
  ]);
  return {
    release: release(),
    aes: readAes(proc),
    descriptors: { used: open.length, limit: mostDescriptors(limits) },
    inotifyInstances: { used: inotifyUsed, limit: Number(inotify) },
    conntrack: trackedMost === "" ? undefined : { used: Number(tracked), limit: Number(trackedMost) },
  };
}

/** How many descriptors this process may have; Node raised it to what the process may raise it to when it started. */
export async function readDescriptorLimit(proc = "/proc"): Promise<number> {
  return mostDescriptors(await readFile(`${proc}/self/limits`, "utf8").catch(() => ""));
}

function mostDescriptors(limits: string): number {
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0);
}

/** The kernel writes as much of cpuinfo as is asked for, and asks each processor it writes about: the first one is enough. */
const oneProcessor = 8192;

export function readAes(proc = "/proc"): string {
  const start = Buffer.alloc(oneProcessor);
  try {
    const file = openSync(`${proc}/cpuinfo`, "r");
    try {
      return aesOf(start.toString("utf8", 0, readSync(file, start)));
    } finally {
      closeSync(file);
    }
  } catch {
    return aesOf("");
  }
}

/** A program opens its watches when it starts, and descriptors are given lowest first: behind these there is traffic. */
const descriptorsLookedAt = 512;

/** inotify(7): instances are counted for each real user, over all of its processes. */
async function inotifyInUse(proc: string): Promise<number> {
  const user = process.getuid?.();
  let used = 0;
  for (const pid of (await readdir(proc).catch(() => [])).filter((name) => /^\d+$/.test(name))) {
    try {
      if ((await stat(`${proc}/${pid}`)).uid !== user) continue;
      const open = (await readdir(`${proc}/${pid}/fd`)).map(Number).sort((one, other) => one - other);
      const links = open.slice(0, descriptorsLookedAt).map((fd) => readlink(`${proc}/${pid}/fd/${fd}`).catch(() => ""));
      used += (await Promise.all(links)).filter((link) => link === "anon_inode:inotify").length;
    } catch {
      // It ended meanwhile, or is not ours to look into.
    }
  }
  return used;
}

/** Of /proc/cpuinfo; the first processor speaks for all. */
export function aesOf(cpuinfo: string): string {
  const flags = new Set((/^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? "").trim().split(/\s+/));
  if (flags.has("vaes")) return flags.has("avx512f") ? "vaes avx512" : "vaes";
  if (flags.has("aes")) return /^flags\s*:/m.test(cpuinfo) ? "aes-ni" : "armv8";
  return "none";
}
