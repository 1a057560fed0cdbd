/** `warren uninstall`: the order that people get wrong by hand: labels first, then wait, then the parts. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import { addMeshOptions, durationOption, type ListFormat, type MeshFlags } from "./output/mesh-flags.ts";
import { addOutputOption } from "./query/output.ts";

export interface UninstallFlags extends MeshFlags {
  readonly yes?: true;
  readonly unlabel: boolean;
  readonly restart?: true;
  readonly wait: number;
  readonly output: ListFormat;
}

const help = `
Takes the opt-in label from every namespace and pod that carries it, waits until no agent holds a pod, and removes agents and control.
The namespace, CRDs, policies and Secrets stay: a mesh that comes back finds its root again. While a pod is captured nothing is removed,
because without its agent its connections would be refused. A pod template that carries the label (warren enroll deploy/x writes it)
is changed with --restart alone, since that replaces its pods; without, nothing is removed while there is one.

Without --yes it only says what it would do. In a lab the agents are stopped and the lab stays up.

Exit status:
  0  removed, or, without --yes, what would be done was said
  1  pods are captured, and --no-unlabel says to leave them; or --restart is needed and was not given
  2  the command line is wrong
  3  there is no mesh to ask, or a node did not answer: what it holds is not known
  4  the time to wait is over; nothing was removed

Examples:
  warren uninstall
  warren uninstall --yes --wait 5m
  warren uninstall --yes --restart
  warren uninstall --yes --no-unlabel`;

export function registerUninstall(program: Command, exit: Exit): void {
  const command = program
    .command("uninstall")
    .description("Removes the mesh: takes the labels away, waits until every pod is let go, removes its parts.");
  addOutputOption(addMeshOptions(command))
    .option("--yes", "do it")
    .option("--no-unlabel", "leave labels alone, and refuse while a pod is captured")
    .option("--restart", "replace the pods of workloads whose template carries the label")
    .addOption(durationOption("--wait <duration>", "how long agents may take", 120_000, "2m"))
    .addHelpText("after", help)
    .action(async (flags: UninstallFlags) => exit(await uninstall(flags)));
}

async function uninstall(flags: UninstallFlags): Promise<number> {
  const [{ withMesh }, { removeMesh }] = [
    await import("./output/run-listing.ts"),
    await import("./query/remove-mesh.ts"),
  ];
  return withMesh(flags, (mesh, signal) => removeMesh(mesh, flags, signal));
}
