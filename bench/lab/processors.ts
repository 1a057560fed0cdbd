/** Who uses the machine's processors: counters of the kernel before and after, and which processors a process may use. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Noise } from "../model.ts";

const jiffiesPerSecond = 100;

/** Seconds of all processors together since the machine's start. */
export interface MachineTime {
  readonly busy: number;
  readonly steal: number;
  readonly total: number;
}

/** From the text of /proc/stat (proc_stat(5)): user nice system idle iowait irq softirq steal; guest times are in user already. */
export function machineTime(procStat: string): MachineTime {
  const [, ...fields] = procStat.slice(0, procStat.indexOf("\n")).split(/\s+/);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = fields.map(
    (field) => Number(field) / jiffiesPerSecond,
  );
  const busy = user + nice + system + irq + softirq;
  return { busy, steal, total: busy + idle + iowait + steal };
}

/** User and system time of a control group and all below it, from its cpu.stat. */
export function cgroupSeconds(path: string): number {
  const [, microseconds = "0"] = /^usage_usec (\d+)$/m.exec(readFileSync(join(path, "cpu.stat"), "utf8")) ?? [];
  return Number(microseconds) / 1e6;
}

export function readMachineTime(): MachineTime {
  return machineTime(readFileSync("/proc/stat", "utf8"));
}

export function noiseBetween(before: MachineTime, after: MachineTime, ownSeconds: number): Noise {
  const total = after.total - before.total;
  if (total <= 0) return { steal: 0, foreign: 0 };
  return {
    steal: (after.steal - before.steal) / total,
    // Interrupt time is charged to nobody's group, so this errs towards more.
    foreign: Math.max(0, (after.busy - before.busy - ownSeconds) / total),
  };
}

export interface ProcessorSplit {
  /** Lists as taskset takes them. */
  readonly agents: string;
  readonly load: string;
  /** The load's two ends go before everything else on theirs (SCHED_FIFO, sched(7)), where the machine lets them. */
  readonly realTime?: true;
}

/** Half for agents, half for load; undefined where there is only one. */
export function splitProcessors(count: number = availableParallelism()): ProcessorSplit | undefined {
  if (count < 2) return undefined;
  const half = Math.floor(count / 2);
  const range = (from: number, to: number) => (from === to ? String(from) : `${from}-${to}`);
  return { agents: range(0, half - 1), load: range(half, count - 1) };
}

export function allProcessors(count: number = availableParallelism()): string {
  return count === 1 ? "0" : `0-${count - 1}`;
}

const runFile = promisify(execFile);

/** All threads of processes that are there now; threads started later inherit. Those that ended meanwhile do not matter. */
export async function bindProcesses(pids: readonly number[], processors: string): Promise<void> {
  await Promise.all(pids.map((pid) => runFile("taskset", ["-acp", processors, String(pid)]).catch(() => {})));
}

/** Before a program's command line. */
export function onProcessors(processors: string): readonly string[] {
  return ["taskset", "-c", processors];
}

/** The lowest of them goes before all that has none. */
const realTimePriority = "1";
/** The same for a program that is started. */
export const inRealTime: readonly string[] = ["chrt", "--fifo", realTimePriority];

/** Real time, or taking turns as everybody does. As with processors: all threads that are there now, and those that they start. */
export async function prioritizeProcesses(pids: readonly number[], realTime: boolean): Promise<void> {
  const policy = realTime ? ["--fifo", "--pid", realTimePriority] : ["--other", "--pid", "0"];
  await Promise.all(pids.map((pid) => runFile("chrt", ["--all-tasks", ...policy, String(pid)]).catch(() => {})));
}
