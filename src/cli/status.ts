/** `warren status`: every node at a glance, and the control plane. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";

const help = `
A node that should have an agent and whose agent is not heard is listed as not answering. CERT LEFT is what the certificate that ends
first on the node still lasts, CONFIG AGE the time since the state of the mesh last changed there.
${exitHelp("an agent or control is not ready, or a pod is not captured as it should be")}

Examples:
  warren status
  warren status --watch
  warren status -o json | jq '.nodes[] | select(.ready | not)'`;

export function registerStatus(program: Command, exit: Exit): void {
  const command = program
    .command("status")
    .description(
      "Shows every node of the mesh: agent, version, captured pods, certificates, age of its configuration.",
    );
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (flags: ListFlags) => exit(await status(flags)));
}

async function status(flags: ListFlags): Promise<number> {
  const [{ runListing }, { nodeStatuses, statusListing, unreadyControls }, { controlRow }] = [
    await import("./output/run-listing.ts"),
    await import("./query/node-statuses.ts"),
    await import("./query/control-rows.ts"),
  ];
  const options = { nodes: flags.node ?? [], timeoutMs: flags.timeout };
  return runListing(statusListing, flags, async (mesh, signal) => {
    const [controls, { rows, outcome }] = await Promise.all([
      mesh.controls(signal),
      nodeStatuses(mesh, options, signal),
    ]);
    const control = controls.map(controlRow);
    const well = rows.every(({ ready }) => ready) && unreadyControls(control).length === 0;
    return { rows, outcome, extra: { control }, code: well ? 0 : 1 };
  });
}
