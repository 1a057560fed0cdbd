/** What can be read of one node's mesh process, ours or a peer's, without its help: processor time, memory, what it has loaded. */
import { readFileSync } from "node:fs";
import type { Cgroup } from "../../src/lab/machine/cgroup.ts";
import { cgroupSeconds } from "./processors.ts";

export interface AgentMemory {
  readonly anonymous: number;
  readonly resident: number;
}

/** Bytes, from the text of /proc/<pid>/smaps_rollup. */
export function memoryOf(smapsRollup: string): AgentMemory {
  const field = (name: string) => {
    const [, kilobytes = "0"] = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(smapsRollup) ?? [];
    return Number(kilobytes) * 1024;
  };
  return { anonymous: field("Anonymous"), resident: field("Rss") };
}

/** Counters of ours, as the admin endpoint has them. */
export interface AgentStats {
  readonly engine: Readonly<Record<string, number>>;
  readonly certificates: Readonly<Record<string, number>>;
}

export class AgentProbe {
  readonly node: string;
  readonly #cgroup: Cgroup;
  readonly #admin: ((path: string) => Promise<unknown>) | undefined;

  /** `admin` is undefined for peers, which have no such endpoint. */
  constructor(node: string, cgroup: Cgroup, admin: ((path: string) => Promise<unknown>) | undefined) {
    this.node = node;
    this.#cgroup = cgroup;
    this.#admin = admin;
  }

  get pids(): readonly number[] {
    return this.#cgroup.pids;
  }

  get cpuSeconds(): number {
    return cgroupSeconds(this.#cgroup.path);
  }

  memory(): AgentMemory {
    const sum = { anonymous: 0, resident: 0 };
    for (const pid of this.pids) {
      const { anonymous, resident } = memoryOf(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
      sum.anonymous += anonymous;
      sum.resident += resident;
    }
    return sum;
  }

  /** True when a process of the agent has mapped a file of this name: what an agent runs, whatever it was asked to. */
  hasLoaded(file: string): boolean {
    return this.pids.some((pid) => readFileSync(`/proc/${pid}/maps`, "utf8").includes(`/${file}\n`));
  }

  async stats(): Promise<AgentStats | undefined> {
    return this.#admin && ((await this.#admin("/stats")) as AgentStats);
  }
}
