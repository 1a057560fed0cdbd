/**
 * Finds a pod's netns without a container runtime's help, by walking /proc. A wrong answer would give one pod another's identity,
 * so four things must agree: the netns is not this node's own; a process in it belongs to a cgroup of this pod's uid; of several
 * such the oldest process speaks for the pod; and the netns holds one of the pod's addresses, asked on the opened descriptor.
 */
import { closeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { CaptureAddon } from "./addon.ts";
import type { Netns } from "./capture.ts";
import { CaptureError } from "./errors.ts";
import { processNetns, startTimeOf } from "./netns-scan.ts";

/** A netns found and held: `path` stays good until `close`, whatever becomes of the process it was found by. */
export interface FoundNetns {
  readonly netns: Netns;
  readonly path: string;
  readonly pid: number;
  close(): void;
}

export interface NetnsFinderOptions {
  /** Host's /proc; with hostPID it is the agent's own. */
  readonly procRoot: string;
}

/**
 * Whether a /proc/<pid>/cgroup names a pod: `…/pod<uid>/…` with the cgroupfs driver, `…-pod<uid with underscores>.slice/…` with
 * systemd's.
 */
export function isCgroupOfPod(cgroupFile: string, uid: string): boolean {
  for (const name of [uid, uid.replaceAll("-", "_")]) {
    const literal = name.replaceAll(/[^A-Za-z0-9_]/g, String.raw`\$&`);
    const pattern = new RegExp(`(?:^|[/-])pod${literal}(?![A-Za-z0-9_-])`);
    if (cgroupFile.split("\n").some((line) => pattern.test(line.slice(line.indexOf("/"))))) {
      return true;
    }
  }
  return false;
}

interface Candidate {
  readonly path: string;
  readonly pid: number;
  readonly startTime: bigint;
}

export class NetnsFinder {
  readonly #addon: CaptureAddon;
  readonly #options: NetnsFinderOptions;

  constructor(addon: CaptureAddon, options: NetnsFinderOptions) {
    this.#addon = addon;
    this.#options = options;
  }

  /** Throws `MESH_NETNS_NOT_FOUND` saying what was seen. The caller closes what is returned. */
  async find(uid: string, addresses: readonly string[]): Promise<FoundNetns> {
    const candidates = await this.#candidates(uid);
    for (const candidate of candidates) {
      const found = await this.#verify(candidate, addresses);
      if (found !== undefined) {
        return found;
      }
    }
    const seen = candidates.map((candidate) => candidate.pid).join(", ");
    throw new CaptureError(
      "MESH_NETNS_NOT_FOUND",
      candidates.length === 0
        ? `no process of pod ${uid} in a netns of its own; is its sandbox running, and does the agent see the host's /proc?`
        : `processes ${seen} belong to pod ${uid} but their netns holds none of ${addresses.join(", ")}`,
    );
  }

  /** One process per netns, oldest first. */
  async #candidates(uid: string): Promise<readonly Candidate[]> {
    const { procRoot } = this.#options;
    const own = new Set<bigint>();
    const oldest = new Map<bigint, Candidate>();
    for await (const { ino, pid, path } of processNetns(procRoot)) {
      if (pid === 1 || pid === process.pid) {
        own.add(ino);
        continue;
      }
      const startTime = (await this.#isOfPod(pid, uid)) ? await startTimeOf(pid, procRoot) : undefined;
      const known = oldest.get(ino);
      if (startTime !== undefined && (known === undefined || startTime < known.startTime)) {
        oldest.set(ino, { path, pid, startTime });
      }
    }
    return [...oldest.entries()]
      .filter(([ino]) => !own.has(ino))
      .map(([, candidate]) => candidate)
      .sort((a, b) => (a.startTime < b.startTime ? -1 : 1));
  }

  async #isOfPod(pid: number, uid: string): Promise<boolean> {
    try {
      return isCgroupOfPod(await readFile(join(this.#options.procRoot, String(pid), "cgroup"), "utf8"), uid);
    } catch {
      return false;
    }
  }

  async #verify(candidate: Candidate, addresses: readonly string[]): Promise<FoundNetns | undefined> {
    let netns: Netns;
    try {
      netns = this.#addon.netnsOpen(candidate.path);
    } catch {
      return undefined;
    }
    const held = await this.#addon.netnsAddresses(netns.fd);
    // The pid may have become another process between the two looks: ask again who it is, now that the descriptor is held.
    const same = (await startTimeOf(candidate.pid, this.#options.procRoot)) === candidate.startTime;
    if (same && held.some(({ address }) => addresses.includes(address))) {
      return { netns, path: `/proc/self/fd/${netns.fd}`, pid: candidate.pid, close: () => closeSync(netns.fd) };
    }
    closeSync(netns.fd);
    return undefined;
  }
}
