/** `warren tap`: connections and requests as they happen, from all nodes. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseDuration } from "../lib/duration.ts";
import type { Exit } from "./exit.ts";
import { addMeshOptions, exitHelp, listFormats, type MeshFlags } from "./output/mesh-flags.ts";
import type { TapFormat } from "./traffic/follow-tap.ts";

interface TapFlags extends MeshFlags {
  readonly to?: string;
  readonly from?: string;
  readonly port?: number;
  readonly verdict?: "allowed" | "refused";
  readonly tls?: "true" | "false";
  readonly proxy?: "in" | "out";
  readonly maxRate: number;
  readonly maxEvents: number;
  readonly for?: number;
  readonly output: TapFormat;
}

const help = `
One line for each event, as it happens:
  req    a connection has begun, or a request was answered (on ports where policy reads requests)
  deny   a connection or request was refused, with reason and policy
  close  a connection has ended, with its bytes

Where both ends are in the mesh, both agents tell: proxy=out is the client's, proxy=in the server's. tls=true means that both ends
proved who they are; local is traffic inside one node that needs no TLS.

WORKLOAD is either end; with --to it is the client. Also ns/x for a whole namespace. Events beyond --max-rate a second and node are
counted, not shown; nothing in the mesh waits for a tap. A tap goes on over restarts of agents.
${exitHelp()}

Examples:
  warren tap deploy/api
  warren tap deploy/api --to deploy/database
  warren tap ns/production --verdict refused -o jsonl | jq .reason
  warren tap --tls false --for 1m`;

export function registerTap(program: Command, exit: Exit): void {
  const command = program
    .command("tap")
    .description(
      "Shows connections and requests as they happen: who, with whom, with mutual TLS or not, refused and why.",
    )
    .argument("[workload]", "for example deploy/api; either end of what is shown")
    .option("--to <workload>", "only to this one; the argument is then the client")
    .option("--from <workload>", "only from this one")
    .option("--port <port>", "only to this port of the destination", number)
    .addOption(new Option("--verdict <verdict>", "only what was let in, or refused").choices(["allowed", "refused"]))
    .addOption(new Option("--tls <tls>", "only with mutual TLS, or only proven plaintext").choices(["true", "false"]))
    .addOption(
      new Option("--proxy <side>", "only what the server's agents tell, or the clients'").choices(["in", "out"]),
    )
    .option("--max-rate <events>", "a second and node", number, 100)
    .option("--max-events <events>", "end after this many", number, 0)
    .option("--for <duration>", "end after this long", duration)
    .option("--node <name...>", "only these nodes (default: the whole mesh)")
    .option("-n, --namespace <namespace>", "of what names none; without a workload, only this namespace")
    .addOption(
      new Option("-o, --output <format>", "how to print; line is table")
        .choices(["line", ...listFormats])
        .default("line"),
    );
  addMeshOptions(command)
    .addHelpText("after", help)
    .action(async (workload: string | undefined, flags: TapFlags) => exit(await tap(workload, flags)));
}

function number(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Write a number.");
  return Number(text);
}

function duration(text: string): number {
  const value = parseDuration(text);
  if (value === undefined || value < 1) throw new InvalidArgumentError("Write a duration, for example 30s.");
  return value;
}

async function tap(workload: string | undefined, flags: TapFlags): Promise<number> {
  const [{ withMesh }, { followTap }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/follow-tap.ts"),
  ];
  return withMesh(flags, async (mesh, signal) => {
    const { node: nodes = [], namespace, to, from, port, verdict, tls, proxy, maxRate, maxEvents, output } = flags;
    const wanted = { workload, to, from, namespace, port, verdict, tls, proxy };
    const ending = flags.for === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(flags.for)]);
    const told = (line: string) => void process.stdout.write(`${line}\n`);
    const advice = (line: string) => void process.stderr.write(`${line}\n`);
    return followTap({ mesh, told, advice }, { nodes, wanted, maxRate, maxEvents, output }, ending);
  });
}
