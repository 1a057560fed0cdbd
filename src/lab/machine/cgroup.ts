/** Control groups (version 2): what the lab's processes are found, told apart and killed by. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { MeshError } from "../../lib/errors.ts";

/** Where the version 2 hierarchy is mounted, from the text of `/proc/self/mountinfo`; with hybrid set-ups it is not `/sys/fs/cgroup`. */
export function cgroup2Mount(mountinfo: string): string | undefined {
  for (const line of mountinfo.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    // Only a mount of the hierarchy's root will do: a bind mount of some part of it names other groups.
    const [, , , root, mountPoint] = before.split(" ");
    if (after.startsWith("cgroup2 ") && root === "/") return mountPoint;
  }
  return undefined;
}

/** The mount point on this machine. */
export function findCgroup2(): string {
  const mount = cgroup2Mount(readFileSync("/proc/self/mountinfo", "utf8"));
  if (mount === undefined)
    throw new MeshError(
      "MESH_LAB_NO_CGROUP2",
      "no cgroup v2 hierarchy is mounted here; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified",
    );
  return mount;
}

export class Cgroup {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  child(name: string): Cgroup {
    return new Cgroup(join(this.path, name));
  }

  create(): this {
    try {
      mkdirSync(this.path, { recursive: true });
    } catch (cause) {
      throw this.#notMade(cause);
    }
    return this;
  }

  /** Makes the group unless it is there already: true for one of all who want it. */
  createFirst(): boolean {
    try {
      mkdirSync(this.path);
      return true;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw this.#notMade(cause);
    }
  }

  #notMade(cause: unknown): MeshError {
    const message = `cannot make the cgroup ${this.path}; are you root, and is the hierarchy mounted writable?`;
    return new MeshError("MESH_LAB_CGROUP", message, { cause });
  }

  get exists(): boolean {
    return existsSync(this.path);
  }

  /** Pids in this group alone, not in those below. */
  get pids(): number[] {
    try {
      return readFileSync(join(this.path, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
    } catch {
      return [];
    }
  }

  get children(): Cgroup[] {
    try {
      const entries = readdirSync(this.path, { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map((entry) => this.child(entry.name));
    } catch {
      return [];
    }
  }

  /** True while any process lives here or below. */
  get populated(): boolean {
    try {
      return readFileSync(join(this.path, "cgroup.events"), "utf8").includes("populated 1");
    } catch {
      return false;
    }
  }

  /** Sends a signal to each process here and below. */
  signal(signal: NodeJS.Signals): void {
    for (const pid of this.pids) {
      try {
        process.kill(pid, signal);
      } catch {
        // It ended on its own between the two calls.
      }
    }
    for (const child of this.children) child.signal(signal);
  }

  /** SIGKILL for everything here and below, at once, so that nothing escapes by forking (kernel 5.14). */
  kill(): void {
    if (!this.exists) return;
    try {
      writeFileSync(join(this.path, "cgroup.kill"), "1");
    } catch {
      this.signal("SIGKILL");
    }
  }

  /** Kills what is left, waits until it is gone and removes the group with those below it. */
  async remove(deadlineMs = 120_000): Promise<void> {
    const deadline = Date.now() + deadlineMs;
    for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
      if (!this.exists) return;
      this.kill();
      if (!this.populated && removeTree(this)) return;
      if (Date.now() > deadline)
        throw new MeshError(
          "MESH_LAB_CGROUP",
          `processes in ${this.path} do not end; look at their state with: cat ${this.path}/cgroup.procs`,
        );
      await delay(wait);
    }
  }
}

function removeTree(cgroup: Cgroup): boolean {
  const below = cgroup.children.map(removeTree);
  if (below.includes(false)) return false;
  try {
    rmdirSync(cgroup.path);
    return true;
  } catch {
    // EBUSY: a process that was killed has not been reaped yet. The caller tries again.
    return !cgroup.exists;
  }
}
