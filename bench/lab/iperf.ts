/** Bulk throughput by iperf3, which is nobody's own. */
import { setTimeout as delay } from "node:timers/promises";
import { MeshError } from "../../src/lib/errors.ts";
import type { Bed } from "../bed.ts";
import { iperfPort } from "./manifests.ts";

export interface Transfer {
  readonly bytes: number;
  readonly gbitPerSecond: number;
}

/** From iperf3's --json text: what the receiving end counted. */
export function transferOf(json: string): Transfer {
  let parsed: {
    readonly error?: string;
    readonly end?: { readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number } };
  };
  try {
    parsed = JSON.parse(json) as typeof parsed;
  } catch {
    throw new MeshError("MESH_BENCH_IPERF", `iperf3 said no JSON: ${json.slice(0, 200)}`);
  }
  const received = parsed.end?.sum_received;
  if (parsed.error !== undefined || received === undefined || received.bytes === 0)
    throw new MeshError("MESH_BENCH_IPERF", `iperf3: ${parsed.error ?? "nothing was received"}`);
  return { bytes: received.bytes, gbitPerSecond: received.bits_per_second / 1e9 };
}

export async function runIperf(
  bed: Bed,
  options: { readonly streams: number; readonly reverse: boolean; readonly seconds: number },
  signal: AbortSignal,
): Promise<Transfer> {
  const { streams, reverse, seconds } = options;
  const [host = "", port = ""] = bed.target(iperfPort).split(/:(?=\d+$)/);
  const argv = ["iperf3", "--client", host, "--port", port, "--json", "--connect-timeout", "5000"];
  argv.push("--parallel", String(streams), "--time", String(seconds), ...(reverse ? ["--reverse"] : []));
  for (let attempt = 1; ; attempt += 1) {
    const { stdout } = await bed.run(argv, seconds * 1000 + 20_000, signal);
    // The server takes one test at a time, and on a busy machine it hears of the end of the one before late.
    if (attempt === busyAttempts || !/server is busy/.test(stdout)) return transferOf(stdout);
    await delay(busyPauseMs, undefined, { signal });
  }
}

const busyAttempts = 20;
const busyPauseMs = 500;
