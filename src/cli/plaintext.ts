/** `warren plaintext`: who still speaks in clear and why, and what STRICT would break. */
import { writeFileSync } from "node:fs";
import { type Command, Option } from "commander";
import type { Exit } from "./exit.ts";
import {
  addMeshOptions,
  addWatchOption,
  exitHelp,
  type ListFormat,
  listFormats,
  type MeshFlags,
} from "./output/mesh-flags.ts";
import { duration } from "./tls-check.ts";
import type { ExportFormat } from "./traffic/plaintext-words.ts";
import type { PlaintextReport } from "./traffic/report-plaintext.ts";

interface PlaintextFlags extends MeshFlags {
  readonly since: number;
  readonly output: ListFormat;
  readonly watch?: true;
  readonly rehearseStrict?: string;
  readonly export?: ExportFormat;
  readonly to?: string;
  readonly failOn: "nothing" | "plaintext" | "refusals";
}

const help = `
Each row is a conversation in clear that an agent saw: from whom to what, why it is in clear, what STRICT would do to it, and the fix.
Connections that were open before their pod was enrolled are listed too, from the kernel's own table.

STRICT:
  REFUSES          it would end          refused already  STRICT is in force and ends it
  encrypts         the client would use mutual TLS instead
  no effect        a narrower policy keeps its mode, or no agent stands before the destination

--rehearse-strict says what a STRICT PeerAuthentication for ns/x, a workload, or the whole mesh would do; narrower policies stay as
they are. What was not seen in the window can't be told: the report ends with what it does not see.
${exitHelp("with --fail-on plaintext: a conversation that is not encrypted since; with --fail-on refusals: one that STRICT would refuse")}

Examples:
  warren plaintext --since 7d
  warren plaintext --rehearse-strict ns/production --fail-on refusals
  warren plaintext --since 7d --export html --to plaintext.html
  warren plaintext -o json | jq '.conversations[] | {client, why, fix}'`;

export function registerPlaintext(program: Command, exit: Exit): void {
  const command = program
    .command("plaintext")
    .description("Reports every conversation in clear: who, why, what STRICT would do to it, and how to fix it.")
    .option("--since <duration>", "how far back, at most 7d", duration, 7 * 24 * 3_600_000)
    .option("--rehearse-strict <scope>", "what STRICT for ns/x, deploy/x.ns or mesh would break")
    .addOption(new Option("--export <format>", "a report for others").choices(["md", "html", "csv"]))
    .option("--to <file>", "where --export writes (default: standard output)")
    .addOption(
      new Option("--fail-on <what>", "end with 1 when there is any")
        .choices(["nothing", "plaintext", "refusals"])
        .default("nothing"),
    )
    .option("--node <name...>", "only these nodes (default: the whole mesh)")
    .option("-n, --namespace <namespace>", "only destinations and clients in this namespace (default: all)")
    .addOption(new Option("-o, --output <format>", "how to print").choices(listFormats).default("table"));
  addWatchOption(addMeshOptions(command))
    .addHelpText("after", help)
    .action(async (flags: PlaintextFlags) => exit(await plaintext(flags)));
}

async function plaintext(flags: PlaintextFlags): Promise<number> {
  const [{ runListing, withMesh }, { reportPlaintext }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/report-plaintext.ts"),
  ];
  const [{ tellPartial }, { exportReport, plaintextListing, summaryLines }, { checkNamespace }] = [
    await import("./output/listing.ts"),
    await import("./traffic/plaintext-words.ts"),
    await import("./query/workload-reference.ts"),
  ];
  const { node: nodes = [], timeout: timeoutMs, since: window, namespace, rehearseStrict, failOn, to } = flags;
  const asked = { nodes, timeoutMs, window, namespace, rehearseStrict };
  const codeOf = ({ rows, summary }: PlaintextReport): 0 | 1 => {
    const clear = rows.length - summary.encryptedSince;
    const found = failOn === "plaintext" ? clear : failOn === "refusals" ? summary.refusedByStrict : 0;
    return found > 0 ? 1 : 0;
  };
  const { export: format } = flags;
  if (format === undefined) {
    return runListing(plaintextListing, flags, async (mesh, signal) => {
      const report = await reportPlaintext(mesh, asked, signal);
      const { rows, summary, outcome } = report;
      return {
        rows,
        outcome,
        extra: { summary },
        advice: `\n${summaryLines(summary).join("\n")}`,
        code: codeOf(report),
      };
    });
  }
  return withMesh(flags, async (mesh, signal) => {
    const report = await reportPlaintext(mesh, asked, signal);
    if (report.rows.length === 0 && namespace !== undefined) checkNamespace(await mesh.mesh(signal), namespace);
    const text = exportReport(report.rows, report.summary, format);
    if (to === undefined) process.stdout.write(text);
    else writeFileSync(to, text);
    return tellPartial(report.outcome) || codeOf(report);
  });
}
