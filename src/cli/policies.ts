/** `warren policies`: the policies that agents enforce, and how many workloads each selects. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";

const help = `
SCOPE is mesh, namespace, or what its selector says. What can't be evaluated denies, and is told under PROBLEMS; see warren lint.
${exitHelp("a policy cannot be evaluated")}

Examples:
  warren policies
  warren policies -n production -o wide
  warren policies -o json | jq '.policies[] | select(.selects == 0).name'`;

export function registerPolicies(program: Command, exit: Exit): void {
  const command = program
    .command("policies")
    .description("Lists AuthorizationPolicies and PeerAuthentications in force, with what they select.");
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (flags: ListFlags) => exit(await policies(flags)));
}

async function policies(flags: ListFlags): Promise<number> {
  const [{ runListing }, { policyRows, policiesListing }] = [
    await import("./output/run-listing.ts"),
    await import("./query/policy-rows.ts"),
  ];
  const { namespace, node = [] } = flags;
  return runListing(policiesListing, flags, async (mesh, signal) => {
    const all = policyRows(await mesh.mesh(signal), new Set(node));
    const rows = all.filter((row) => namespace === undefined || row.namespace === namespace);
    return { rows, code: rows.some(({ problems }) => problems.length > 0) ? 1 : 0 };
  });
}
