/** What a lab leaves on the machine, looked for everywhere: processes, cgroups, mounts in any namespace, network namespaces, files. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { findCgroup2 } from "../../src/lab/machine/cgroup.ts";
import { identifyProcess } from "../../src/lab/machine/process-identity.ts";

/** Paths below `root` with the id in their name. */
function namesIn(root: string, id: string): string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .filter((name) => name.includes(id))
    .map((name) => join(root, name));
}

function processes(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

export function netnsInode(path: string): bigint {
  return statSync(path, { bigint: true }).ino;
}

/** Everything that still names the lab, and every process that still is in one of its network namespaces. */
export function tracesOf(id: string, stateRoot: string, netnsInodes: ReadonlySet<bigint> = new Set()): string[] {
  const traces = [...namesIn(stateRoot, id), ...namesIn(findCgroup2(), id), ...namesIn("/run/netns", id)];
  for (const pid of processes()) {
    // A process that ended holds nothing; whoever inherited it may be slow to look.
    if (identifyProcess(Number(pid)) === undefined) continue;
    if (read(`/proc/${pid}/cgroup`).includes(`warren-lab-${id}/`)) traces.push(`process ${pid} in its cgroup`);
    const mounts = read(`/proc/${pid}/mountinfo`);
    if (mounts.includes(join(stateRoot, id))) traces.push(`a mount of process ${pid}`);
    try {
      if (netnsInodes.has(netnsInode(`/proc/${pid}/ns/net`))) traces.push(`process ${pid} in its netns`);
    } catch {
      // The process ended meanwhile.
    }
  }
  return traces;
}
