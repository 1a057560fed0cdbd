/** `warren edges`: who talks to whom, and whether it is secured. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";
import { duration } from "./tls-check.ts";

interface EdgesFlags extends ListFlags {
  readonly since: number;
}

const help = `
An edge is all connections between two workloads with one kind of security. Where both ends are in the mesh, the numbers are the
destination's; SECURED is √ when both ends proved who they are, else why not. Refusals are told with their reason (docs/reasons.md).

WORKLOAD narrows to edges that begin or end at it.
${exitHelp()}

Examples:
  warren edges
  warren edges deploy/api -o wide
  warren edges -n production -o json | jq '.edges[] | select(.security == "none")'`;

export function registerEdges(program: Command, exit: Exit): void {
  const command = program
    .command("edges")
    .description("Shows who talks to whom, with both ends' proven identities and whether it is secured.")
    .argument("[workload]", "for example deploy/api")
    .option("--since <duration>", "how far back, at most 7d", duration, 3_600_000);
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (workload: string | undefined, flags: EdgesFlags) => exit(await edges(workload, flags)));
}

async function edges(reference: string | undefined, flags: EdgesFlags): Promise<number> {
  const [{ runListing }, { gatherTraffic }, { edgeRows, edgesListing }, { findWorkloads }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/gather.ts"),
    await import("./traffic/edge-rows.ts"),
    await import("./query/workload-reference.ts"),
  ];
  const { namespace, node: nodes = [], timeout: timeoutMs, since: window } = flags;
  return runListing(edgesListing, flags, async (mesh, signal) => {
    const view = await mesh.mesh(signal);
    const { rows, refusedRequests, outcome } = await gatherTraffic(mesh, { nodes, timeoutMs, window }, signal);
    const meant = reference && findWorkloads(view, reference, namespace ?? mesh.defaultNamespace);
    const owners = meant && new Set(meant.map((one) => `${one.namespace}/${one.owner.kind}/${one.owner.name}`));
    const found = edgeRows(view, rows, refusedRequests).filter(({ source, destination }) => {
      const ends = [source, destination];
      if (owners) return ends.some((end) => owners.has(`${end.namespace}/${end.owner}`));
      return namespace === undefined || ends.some((end) => end.namespace === namespace);
    });
    return { rows: found, outcome };
  });
}
