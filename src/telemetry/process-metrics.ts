/** What the process itself costs. prom-client's own set is not used: it wakes the event loop a hundred times a second. */
import { readdir, readFile, stat } from "node:fs/promises";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { familyHead, labelledText } from "./exposition.ts";

/** A block of this length is always seen, a shorter one by chance; and each step wakes an idle process, on every node. */
const stepMs = 50;

export class ProcessMetrics {
  // Sampled in libuv without calling JavaScript.
  readonly #delay = monitorEventLoopDelay({ resolution: stepMs });
  #utilization = performance.eventLoopUtilization();

  start(): void {
    this.#delay.enable();
  }

  stop(): void {
    this.#delay.disable();
  }

  /** Lag and utilisation are of the time since the last scrape. */
  async text(): Promise<string> {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#utilization);
    this.#utilization = now;
    const lag = [0.5, 0.99, 1].map((quantile): [string, number] => {
      const seen = quantile === 1 ? this.#delay.max : this.#delay.percentile(quantile * 100);
      // The timer's own period is part of what the histogram records.
      return [String(quantile), this.#delay.count === 0 ? 0 : Math.max(0, seen / 1e9 - stepMs / 1000)];
    });
    this.#delay.reset();
    const memory = process.memoryUsage();
    const cpu = process.cpuUsage();
    const one = (name: string, help: string, type: "counter" | "gauge", value: number) =>
      `${familyHead(name, help, type)}${name} ${value}\n`;
    return [
      labelledText(
        "warren_event_loop_lag_seconds",
        "Delay of the event loop since the last scrape.",
        "gauge",
        "quantile",
        lag,
      ),
      one(
        "warren_event_loop_utilization",
        "Share of time the event loop was busy since the last scrape.",
        "gauge",
        utilization,
      ),
      one("process_cpu_seconds_total", "User and system CPU time.", "counter", (cpu.user + cpu.system) / 1e6),
      one("process_resident_memory_bytes", "Resident memory.", "gauge", memory.rss),
      one("nodejs_heap_size_used_bytes", "JavaScript heap in use.", "gauge", memory.heapUsed),
      one(
        "nodejs_external_memory_bytes",
        "Memory outside the JavaScript heap, buffers included.",
        "gauge",
        memory.external,
      ),
      one("process_start_time_seconds", "Start, as Unix time.", "gauge", performance.timeOrigin / 1000),
      ...(await descriptors(one)),
    ].join("");
  }
}

async function descriptors(
  one: (name: string, help: string, type: "gauge", value: number) => string,
): Promise<string[]> {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(await readFile("/proc/self/limits", "utf8"))?.[1];
    return [
      one("process_open_fds", "Open file descriptors.", "gauge", await openDescriptors()),
      ...(limit === undefined
        ? []
        : [one("process_max_fds", "Limit of open file descriptors.", "gauge", Number(limit))]),
    ];
  } catch {
    // Without /proc, or out of descriptors to read it: the other metrics must still be served.
    return [];
  }
}

/** Listing thousands of them takes milliseconds; since Linux 6.2 the folder's size is their number (proc(5)), and zero before. */
async function openDescriptors(): Promise<number> {
  const { size } = await stat("/proc/self/fd");
  return size === 0 ? (await readdir("/proc/self/fd")).length : size;
}
