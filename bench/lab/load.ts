/** Runs load in a bed's client pod and reads what it reports. */
import { MeshError } from "../../src/lib/errors.ts";
import type { Bed } from "../bed.ts";
import type { Histogram } from "../model.ts";

/** warren_load's line: numbers and histograms by name, and errors counted by errno. */
export type LoadReport = Readonly<Record<string, number | Histogram | Readonly<Record<string, number>>>>;

/** Beyond what the program was asked to take: its start in the pod on a busy machine, and answers that come late. */
const graceMs = 20_000;

export async function runLoad(
  bed: Bed,
  command: string,
  options: Readonly<Record<string, string | number>>,
  seconds: number,
  signal: AbortSignal,
): Promise<LoadReport> {
  const result = await bed.run(loadCommand(bed, command, options), seconds * 1000 + graceMs, signal);
  return parseReport(result.stdout, `${command} in ${bed.variant}: exit ${result.code}: ${result.stderr.trim()}`);
}

export function loadCommand(bed: Bed, command: string, options: Readonly<Record<string, string | number>>): string[] {
  return [bed.loadGenerator, command, ...Object.entries(options).map(([name, value]) => `--${name}=${value}`)];
}

/** `context` says in an error what was tried. */
export function parseReport(line: string, context: string): LoadReport {
  try {
    return JSON.parse(line) as LoadReport;
  } catch {
    throw new MeshError("MESH_BENCH_LOAD", context);
  }
}

export function numberOf(report: LoadReport, name: string): number {
  const value = report[name];
  if (typeof value !== "number") throw new MeshError("MESH_BENCH_LOAD", `the load generator reported no ${name}`);
  return value;
}

export function histogramOf(report: LoadReport, name: string): Histogram {
  const value = report[name];
  if (typeof value !== "object" || !Array.isArray(value["buckets"]))
    throw new MeshError("MESH_BENCH_LOAD", `the load generator reported no histogram ${name}`);
  return value as Histogram;
}

export function errorsOf(report: LoadReport): Readonly<Record<string, number>> {
  return (report["errors"] ?? {}) as Readonly<Record<string, number>>;
}

/** Throws when more than one in a hundred failed: what is left would be the figures of something else. */
export function assertMostlySucceeded(what: string, report: LoadReport, succeeded: number): void {
  const errors = errorsOf(report);
  const failed = Object.values(errors).reduce((sum, count) => sum + count, 0);
  if (succeeded > 0 && failed * 100 <= succeeded) return;
  const causes = Object.entries(errors).map(([cause, count]) => `${cause} ${count}×`);
  throw new MeshError(
    "MESH_BENCH_LOAD",
    `${what}: ${succeeded} succeeded, ${failed} failed${causes.length > 0 ? ` (${causes.join(", ")})` : ""}`,
  );
}
