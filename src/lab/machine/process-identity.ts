/**
 * Names a process so that the name never comes to mean another one: a pid is reused, a pid with its start time and the boot it
 * happened in is not.
 */
import { readFileSync } from "node:fs";

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of `/proc/<pid>/stat` (proc(5)). */
  readonly startTime: string;
  readonly bootId: string;
}

/** The identity of a running process; undefined when there is none with that pid. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  const parsed = parseStat(stat);
  // A zombie does nothing any more: whoever asks wants to know if somebody still looks after the lab.
  if (parsed === undefined || parsed.state === "Z" || parsed.state === "X") return undefined;
  return { pid, startTime: parsed.startTime, bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim() };
}

/** True while that very process runs. */
export function isRunning(identity: ProcessIdentity): boolean {
  const now = identifyProcess(identity.pid);
  return now !== undefined && now.startTime === identity.startTime && now.bootId === identity.bootId;
}

/** State and start time from a stat line; the program's name may hold blanks and brackets, so counting starts after the last one. */
export function parseStat(line: string): { state: string; startTime: string } | undefined {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [state, startTime] = [fields[0], fields[19]];
  return state === undefined || startTime === undefined ? undefined : { state, startTime };
}
