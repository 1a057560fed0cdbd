/** `warren bundle`: one archive with everything that helps somebody else to find out what is wrong. */
import { type Command, InvalidArgumentError } from "commander";
import type { Exit } from "./exit.ts";
import { addMeshOptions, exitHelp, type MeshFlags } from "./output/mesh-flags.ts";

interface BundleFlags extends MeshFlags {
  readonly file?: string;
  readonly logLines: number;
}

const help = `
Holds, as JSON, what status, workloads, services, policies, certs and connections show, tunnels, the configuration and state of every
agent, control's own description, the findings of warren check, and the last lines of the logs of agents and control: in a cluster those of
Warren's pods, read with your own rights (pods/log in the mesh's namespace), also from before their last restart. No key and no token is in it: agents never hand one out, and every text is searched for them again before it is written.
${exitHelp()}

Examples:
  warren bundle
  warren bundle --file /tmp/incident.tar.gz --node worker-2
  tar -xzf warren-bundle-*.tar.gz && jq . nodes/worker-2/status.json`;

export function registerBundle(program: Command, exit: Exit): void {
  const command = program
    .command("bundle")
    .description("Writes a support archive: state of control, agents and mesh, without keys and tokens.");
  addMeshOptions(command)
    .option("--node <name...>", "only these nodes (default: the whole mesh)")
    .option("--file <path>", "where to write it (default: warren-bundle-<time>.tar.gz here)")
    .option("--log-lines <count>", "of each log, from its end", lineCount, 2000)
    .addHelpText("after", help)
    .action(async (flags: BundleFlags) => exit(await bundle(flags)));
}

function lineCount(text: string): number {
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Write a number of lines.");
}

async function bundle(flags: BundleFlags): Promise<number> {
  const [{ writeFile }, { gzipSync }, { tar }, { withMesh }, { gatherBundle }, { tellPartial }] = [
    await import("node:fs/promises"),
    await import("node:zlib"),
    await import("../lib/tar.ts"),
    await import("./output/run-listing.ts"),
    await import("./query/support-bundle.ts"),
    await import("./output/listing.ts"),
  ];
  return withMesh(flags, async (mesh, signal) => {
    const at = new Date();
    const { entries, outcome, missing } = await gatherBundle(
      mesh,
      { nodes: flags.node ?? [], timeoutMs: flags.timeout, logLines: flags.logLines },
      signal,
    );
    const name = `warren-bundle-${at.toISOString().replaceAll(/[:.]/g, "-")}.tar.gz`;
    const path = flags.file ?? name;
    // Addresses, names and policies of a cluster are nobody else's on this machine.
    await writeFile(path, gzipSync(tar(entries, { modifiedAt: at.getTime() })), { mode: 0o600 });
    process.stdout.write(`${path}\n`);
    for (const { path: log, why } of missing) process.stderr.write(`not in it: ${log}: ${why}\n`);
    return tellPartial(outcome);
  });
}
