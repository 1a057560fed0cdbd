/** `warren log`: what the agents write, changed while they run. */
import { type Command, InvalidArgumentError } from "commander";
import type { Exit } from "./exit.ts";
import type { Listing } from "./output/listing.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";

interface LogFlags extends ListFlags {
  readonly level?: string[];
  readonly reset?: true;
}

export interface LogLevelRow {
  readonly node: string;
  readonly level: string;
  /** Parts of the agent that write at a level of their own. */
  readonly areas: Readonly<Record<string, string>>;
}

const help = `
LEVEL is trace, debug, info, warn or error. An area is the scope of the agent's log lines: tunnel, enrolment, certificates, capture,
mesh, access, readiness, drain, inspection. Without --level and --reset the levels that hold now are shown. A change lasts until the
agent restarts.
${exitHelp()}

Examples:
  warren log
  warren log --level debug --node worker-2
  warren log --level tunnel:debug certificates:trace
  warren log --reset`;

export function registerLog(program: Command, exit: Exit): void {
  const command = program
    .command("log")
    .description("Shows or changes what agents write to their logs, while they run.")
    .option("--level <level...>", "LEVEL, or AREA:LEVEL for one part of the agent", checked)
    .option("--reset", "back to what the agents' configuration says");
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (flags: LogFlags) => exit(await log(flags)));
}

function checked(text: string, before: string[] | undefined): string[] {
  const level = text.slice(text.indexOf(":") + 1);
  if (!["trace", "debug", "info", "warn", "error"].includes(level))
    throw new InvalidArgumentError("Levels are trace, debug, info, warn and error.");
  return [...(before ?? []), text];
}

const listing: Listing<LogLevelRow> = {
  schema: "warren.log/v1",
  items: "levels",
  columns: [
    { title: "NODE", cell: ({ node }) => node },
    { title: "LEVEL", cell: ({ level }) => level },
    {
      title: "AREAS",
      cell: ({ areas }) =>
        Object.entries(areas)
          .map(([area, level]) => `${area}:${level}`)
          .join(","),
    },
  ],
  name: ({ node }) => `node/${node}`,
  none: "no agents are known",
};

async function log({ level = [], reset, ...flags }: LogFlags): Promise<number> {
  const [{ runListing }, { rowsOf }] = [await import("./output/run-listing.ts"), await import("./query/asked.ts")];
  const options = { nodes: flags.node ?? [], timeoutMs: flags.timeout };
  return runListing(listing, flags, async (mesh, signal) => {
    const changes = [...(reset === true ? [""] : []), ...level];
    for (const change of changes.slice(0, -1)) {
      for await (const _ of mesh.ask({ case: "setLogLevel", value: { level: change } }, options, signal)) {
        // What holds in the end is what counts; the last ask tells it.
      }
    }
    const last = changes.at(-1);
    const asked =
      last === undefined
        ? mesh.ask({ case: "getLogLevel", value: {} }, options, signal)
        : mesh.ask({ case: "setLogLevel", value: { level: last } }, options, signal);
    const rows = await rowsOf(asked, "logLevel", (found, { node }) => [
      { node, level: found.level, areas: found.areas },
    ]);
    return { rows: rows.sort((one, other) => (one.node < other.node ? -1 : 1)), outcome: asked.outcome };
  });
}
