/** Network namespaces as they can be seen from here: through processes in /proc, and through the names of ip-netns(8). */
import { closeSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { CaptureAddon } from "./addon.ts";
import type { Netns } from "./capture.ts";

export interface NetnsSighting {
  readonly path: string;
  readonly ino: bigint;
  /** Undefined for a named netns. */
  readonly pid: number | undefined;
}

async function inodeOf(path: string): Promise<bigint | undefined> {
  try {
    return (await stat(path, { bigint: true })).ino;
  } catch {
    // The process has ended meanwhile, or is a kernel thread.
    return undefined;
  }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}

/** Each process with the netns of its main thread: threads of other programs that visit a pod do not count as its processes. */
export async function* processNetns(procRoot = "/proc"): AsyncGenerator<NetnsSighting & { readonly pid: number }> {
  for (const name of await namesIn(procRoot)) {
    if (/^\d+$/.test(name)) {
      const path = join(procRoot, name, "ns/net");
      const ino = await inodeOf(path);
      if (ino !== undefined) {
        yield { path, ino, pid: Number(name) };
      }
    }
  }
}

/** Each netns that has a name, once. */
export async function* namedNetns(namedRoot = "/run/netns"): AsyncGenerator<NetnsSighting> {
  const seen = new Set<bigint>();
  for (const name of await namesIn(namedRoot)) {
    const path = join(namedRoot, name);
    const ino = await inodeOf(path);
    if (ino !== undefined && !seen.has(ino)) {
      seen.add(ino);
      yield { path, ino, pid: undefined };
    }
  }
}

/** One sighting per netns. */
export async function* allNetns(procRoot = "/proc", namedRoot = "/run/netns"): AsyncGenerator<NetnsSighting> {
  const seen = new Set<bigint>();
  for await (const sighting of namedNetns(namedRoot)) {
    seen.add(sighting.ino);
    yield sighting;
  }
  for await (const sighting of processNetns(procRoot)) {
    if (!seen.has(sighting.ino)) {
      seen.add(sighting.ino);
      yield sighting;
    }
  }
}

/** Opens the netns with this inode, verified on the descriptor; undefined when nothing shows it. The caller owns the descriptor. */
export async function findNetnsByInode(addon: CaptureAddon, ino: bigint): Promise<Netns | undefined> {
  for await (const sighting of allNetns()) {
    if (sighting.ino !== ino) {
      continue;
    }
    try {
      const netns = addon.netnsOpen(sighting.path);
      if (netns.ino === ino) {
        return netns;
      }
      closeSync(netns.fd);
    } catch {
      // Gone between the look and the opening.
    }
  }
  return undefined;
}

/** Fields of /proc/<pid>/stat after the command, which may itself hold blanks and parentheses (proc(5)). */
export async function startTimeOf(pid: number, procRoot = "/proc"): Promise<bigint | undefined> {
  try {
    const text = await readFile(join(procRoot, String(pid), "stat"), "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const startTime = fields[19];
    return startTime === undefined ? undefined : BigInt(startTime);
  } catch {
    return undefined;
  }
}
