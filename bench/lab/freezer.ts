/** Stops and resumes a whole control group (cgroup.freeze of the kernel's cgroup-v2 page). What is killed while it is frozen dies all the same. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./conditions.ts";

/** Resolves when no process in the group or below runs any more; leaves it running when that takes too long. */
export async function freeze(cgroup: string, timeoutMs: number): Promise<void> {
  writeFileSync(join(cgroup, "cgroup.freeze"), "1");
  const frozen = () => /^frozen 1$/m.test(readFileSync(join(cgroup, "cgroup.events"), "utf8"));
  try {
    await until(`${cgroup} to be frozen`, frozen, { signal: new AbortController().signal, timeoutMs });
  } catch (error) {
    thaw(cgroup);
    throw error;
  }
}

export function thaw(cgroup: string): void {
  writeFileSync(join(cgroup, "cgroup.freeze"), "0");
}
