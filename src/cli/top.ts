/** `warren top`: what moves between workloads now, the busiest first. */
import { type Command, InvalidArgumentError } from "commander";
import { parseDuration } from "../lib/duration.ts";
import type { Exit } from "./exit.ts";
import { addMeshOptions, exitHelp, type ListFormat, type MeshFlags } from "./output/mesh-flags.ts";
import { addOutputOption } from "./query/output.ts";

interface TopFlags extends MeshFlags {
  readonly interval: number;
  readonly count: number;
  readonly output: ListFormat;
}

const help = `
Rates are those of the last interval, of all connections between two workloads; bytes of open connections count while they flow.
On a terminal the table is redrawn; into a pipe each look is one JSON document on a line (also with -o json or jsonl). It goes on over
restarts of agents and control, and says which nodes did not answer.
${exitHelp()}

Examples:
  warren top
  warren top deploy/api --interval 5s
  warren top -n production --count 1 -o json | jq '.edges[] | select(.security == "none")'`;

export function registerTop(program: Command, exit: Exit): void {
  const command = program
    .command("top")
    .description("Shows what moves between workloads now, the busiest first.")
    .argument("[workload]", "for example deploy/api; either end of what is shown")
    .option("--interval <duration>", "between two looks", interval, 2000)
    .option("--count <looks>", "end after this many (default: until interrupted)", count, 0)
    .option("--node <name...>", "only these nodes (default: the whole mesh)")
    .option("-n, --namespace <namespace>", "only this namespace (default: all)");
  addMeshOptions(addOutputOption(command))
    .addHelpText("after", help)
    .action(async (workload: string | undefined, flags: TopFlags) => exit(await top(workload, flags)));
}

function interval(text: string): number {
  const value = parseDuration(text);
  if (value === undefined || value < 100) throw new InvalidArgumentError("Write a duration of 100ms or more.");
  return value;
}

function count(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Write a number.");
  return Number(text);
}

async function top(reference: string | undefined, flags: TopFlags): Promise<number> {
  const [{ withMesh }, { followTop }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/follow-top.ts"),
  ];
  return withMesh(flags, (mesh, signal) => {
    const { node: nodes = [], timeout: timeoutMs, namespace, interval: intervalMs, count: looks } = flags;
    const people = flags.output === "table" || flags.output === "wide";
    // A table that can't be redrawn is a log that nobody can read.
    const output = people && looks !== 1 && !process.stdout.isTTY ? "json" : flags.output;
    const redraw = people && output !== "json" && looks !== 1;
    const asking = { nodes, timeoutMs, namespace, reference, intervalMs, looks, output, redraw };
    return followTop(mesh, { ...asking, color: flags.color }, signal);
  });
}
