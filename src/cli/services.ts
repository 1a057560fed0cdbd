/** `warren services`: Services as the mesh routes to them. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";

const help = `
ENDPOINTS is how many of the pods behind the Service are ready, ENROLLED how many of them are reached through the mesh.
${exitHelp()}

Examples:
  warren services -n production
  warren services -o json | jq '.services[] | select(.ready == 0).name'`;

export function registerServices(program: Command, exit: Exit): void {
  const command = program.command("services").description("Lists Services: virtual addresses, ports, endpoints.");
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (flags: ListFlags) => exit(await services(flags)));
}

async function services({ node: nodes = [], ...flags }: ListFlags): Promise<number> {
  const [{ runListing }, { serviceRows, servicesListing }] = [
    await import("./output/run-listing.ts"),
    await import("./query/service-rows.ts"),
  ];
  return runListing(servicesListing, flags, async (mesh, signal) => {
    const view = await mesh.mesh(signal);
    const rows = serviceRows(view, new Set(nodes));
    return { rows: rows.filter(({ namespace }) => flags.namespace === undefined || namespace === flags.namespace) };
  });
}
