/** `warren policies`: the policies that agents enforce, and how many workloads each selects. */
import type { Command } from "commander";
import type { MeshView } from "../model/mesh.ts";
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

/** What holds where nobody has said anything. */
function withoutPolicies(
  { settings: { defaultAction, rootNamespace } }: MeshView,
  namespace: string | undefined,
): string {
  const others = namespace === undefined ? "" : `, unless policies of ${rootNamespace} say otherwise`;
  const who = defaultAction === "allow" ? "everybody may connect" : "nobody may connect";
  return `PERMISSIVE, and ${who} (mesh.defaultAction is ${defaultAction})${others}`;
}

async function policies(flags: ListFlags): Promise<number> {
  const [{ runListing }, { policyRows, policiesListing }] = [
    await import("./output/run-listing.ts"),
    await import("./query/policy-rows.ts"),
  ];
  const { namespace, node = [] } = flags;
  return runListing(policiesListing, flags, async (mesh, signal) => {
    const view = await mesh.mesh(signal);
    const all = policyRows(view, new Set(node));
    const rows = all.filter((row) => namespace === undefined || row.namespace === namespace);
    const advice = rows.length === 0 ? withoutPolicies(view, namespace) : "";
    return { rows, advice, code: rows.some(({ problems }) => problems.length > 0) ? 1 : 0 };
  });
}
