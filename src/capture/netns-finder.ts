/**
 * Finds a pod's netns: where the container runtime announced it, else where the runtime says on being asked, else through the pod's
 * processes in /proc, else among the named ones of /run/netns. A wrong answer would give one pod another's identity, so whoever says it,
 * four things must agree: the netns is not this node's own; whoever names it names this pod (the runtime by uid, a process by its
 * cgroup); of several processes the oldest speaks for the pod; and the netns holds one of the pod's addresses, asked on the opened
 * descriptor.
 */
import { closeSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../lib/errors.ts";
import type { CaptureAddon } from "./addon.ts";
import type { Netns } from "./capture.ts";
import { CaptureError } from "./errors.ts";
import { namedNetns, processNetns, startTimeOf } from "./netns-scan.ts";

/** A netns found and held: `path` stays good until `close`, whatever becomes of what it was found by. */
export interface FoundNetns {
  readonly netns: Netns;
  readonly path: string;
  /** Who named it. */
  readonly by: NetnsWitness;
  /** Whether where it was found is still this netns: a cheap look that spares the search. Good after `close` too. */
  stillThere(): Promise<boolean>;
  close(): void;
}

export type NetnsWitness = "announcement" | "cri" | "proc" | "named";

export interface NetnsFinderDeps {
  readonly addon: Pick<CaptureAddon, "netnsOpen" | "netnsAddresses">;
  /** The container runtime, where its socket is known. */
  readonly cri: { netnsPath(uid: string): Promise<string | undefined> } | undefined;
}

export interface NetnsFinderOptions {
  /** Host's /proc; with hostPID it is the agent's own. */
  readonly procRoot: string;
  /** Where runtimes keep netns by name, mounted from the host. */
  readonly namedRoot: string;
}

export interface NetnsQuestion {
  readonly uid: string;
  readonly addresses: readonly string[];
  /** Where the container runtime said that it is. */
  readonly announced?: string | undefined;
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

/** Whether a /proc/<pid>/cgroup names any pod at all: uids of Kubernetes are UUIDs, or hashes for static pods. */
export function isCgroupOfAnyPod(cgroupFile: string): boolean {
  return /(?:^|[/-])pod[0-9a-f]{8,}[0-9a-f_-]*/m.test(cgroupFile);
}

interface ProcessCandidate {
  readonly path: string;
  readonly pid: number;
  readonly startTime: bigint;
}

interface Survey {
  /** Netns of this process and of init. */
  readonly own: ReadonlySet<bigint>;
  /** One process of the pod per netns, oldest first. */
  readonly candidates: readonly ProcessCandidate[];
  /** Netns in which processes of other pods run. */
  readonly others: ReadonlySet<bigint>;
}

export class NetnsFinder {
  readonly #deps: NetnsFinderDeps;
  readonly #options: NetnsFinderOptions;

  constructor(deps: NetnsFinderDeps, options: NetnsFinderOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Throws `MESH_NETNS_NOT_FOUND` saying what was seen. The caller closes what is returned. */
  async find(question: NetnsQuestion): Promise<FoundNetns> {
    const seen: string[] = [];
    const told = (await this.#byAnnouncement(question, seen)) ?? (await this.#byRuntime(question, seen));
    if (told !== undefined) return told;
    const survey = await this.#survey(question.uid);
    const walked = (await this.#byProcesses(question, survey, seen)) ?? (await this.#byName(question, survey, seen));
    if (walked !== undefined) return walked;
    throw new CaptureError("MESH_NETNS_NOT_FOUND", `no netns of pod ${question.uid}: ${seen.join("; ")}`);
  }

  async #byAnnouncement(question: NetnsQuestion, seen: string[]): Promise<FoundNetns | undefined> {
    const { announced } = question;
    return announced === undefined ? undefined : this.#take(announced, "announcement", question, seen);
  }

  async #byRuntime(question: NetnsQuestion, seen: string[]): Promise<FoundNetns | undefined> {
    const { cri } = this.#deps;
    if (cri === undefined) return undefined;
    try {
      const path = await cri.netnsPath(question.uid);
      if (path !== undefined) return await this.#take(path, "cri", question, seen);
      seen.push("the container runtime has no sandbox of it with a netns");
    } catch (error) {
      seen.push(messageOf(error));
    }
    return undefined;
  }

  async #byProcesses(question: NetnsQuestion, survey: Survey, seen: string[]): Promise<FoundNetns | undefined> {
    const { procRoot } = this.#options;
    for (const { path, pid, startTime } of survey.candidates) {
      // The pid may have become another process meanwhile: asked again who it is, when the descriptor is held.
      const same = async () => (await startTimeOf(pid, procRoot)) === startTime;
      const found = await this.#take(path, "proc", question, seen, same);
      if (found !== undefined) return found;
    }
    if (survey.candidates.length === 0)
      seen.push("no process of it is in a netns of its own; does the agent see the host's /proc?");
    return undefined;
  }

  /** A name says nothing of whose it is, so the address must be in exactly one, and no other pod's process in that. */
  async #byName(question: NetnsQuestion, survey: Survey, seen: string[]): Promise<FoundNetns | undefined> {
    const found: FoundNetns[] = [];
    for await (const { path, ino } of namedNetns(this.#options.namedRoot)) {
      if (survey.own.has(ino) || survey.others.has(ino)) continue;
      const one = await this.#take(path, "named", question, []);
      if (one !== undefined) found.push(one);
    }
    const [only, ...more] = found;
    if (only !== undefined && more.length === 0) return only;
    for (const one of found) one.close();
    seen.push(
      only === undefined
        ? `none in ${this.#options.namedRoot} holds its address`
        : `${found.length} in ${this.#options.namedRoot} hold its address`,
    );
    return undefined;
  }

  /** Opens, and believes only what the descriptor says. */
  async #take(
    path: string,
    by: NetnsWitness,
    { addresses }: NetnsQuestion,
    seen: string[],
    confirmed: () => Promise<boolean> = async () => true,
  ): Promise<FoundNetns | undefined> {
    const { addon } = this.#deps;
    let netns: Netns;
    try {
      netns = addon.netnsOpen(path);
    } catch (error) {
      seen.push(messageOf(error));
      return undefined;
    }
    const { ino, dev, fd } = netns;
    try {
      if ((await this.#ownInodes()).has(ino)) {
        seen.push(`${path} is the node's own netns`);
      } else {
        const held = await addon.netnsAddresses(fd);
        const holds = held.some(({ address }) => addresses.includes(address));
        if (!holds) seen.push(`${path} holds none of ${addresses.join(", ")}`);
        if (holds && (await confirmed())) {
          const stillThere = async () => {
            const now = await stat(path, { bigint: true }).catch(() => undefined);
            return now?.ino === ino && now.dev === dev;
          };
          return { netns, path: `/proc/self/fd/${fd}`, by, stillThere, close: () => closeSync(fd) };
        }
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
    return undefined;
  }

  async #ownInodes(): Promise<ReadonlySet<bigint>> {
    const { procRoot } = this.#options;
    const own = new Set<bigint>();
    for (const name of ["1", String(process.pid)]) {
      const status = await stat(join(procRoot, name, "ns/net"), { bigint: true }).catch(() => undefined);
      if (status !== undefined) own.add(status.ino);
    }
    return own;
  }

  async #survey(uid: string): Promise<Survey> {
    const { procRoot } = this.#options;
    const own = await this.#ownInodes();
    const oldest = new Map<bigint, ProcessCandidate>();
    const others = new Set<bigint>();
    for await (const { ino, pid, path } of processNetns(procRoot)) {
      if (own.has(ino)) continue;
      const cgroup = await this.#cgroupOf(pid);
      if (!isCgroupOfPod(cgroup, uid)) {
        if (isCgroupOfAnyPod(cgroup)) others.add(ino);
        continue;
      }
      const startTime = await startTimeOf(pid, procRoot);
      const known = oldest.get(ino);
      if (startTime !== undefined && (known === undefined || startTime < known.startTime)) {
        oldest.set(ino, { path, pid, startTime });
      }
    }
    const candidates = [...oldest.values()].sort((a, b) => (a.startTime < b.startTime ? -1 : 1));
    return { own, candidates, others };
  }

  async #cgroupOf(pid: number): Promise<string> {
    try {
      return await readFile(join(this.#options.procRoot, String(pid), "cgroup"), "utf8");
    } catch {
      return "";
    }
  }
}
