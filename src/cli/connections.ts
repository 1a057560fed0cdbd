/** `warren connections`: every open connection that the mesh carries, on all nodes. */
import { type Command, Option } from "commander";
import type { Exit } from "./exit.ts";
import type { Listed } from "./output/listing.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";
import type { ConnectionRow } from "./query/connection-rows.ts";

interface ConnectionsFlags extends ListFlags {
  readonly direction?: string;
}

const help = `
Each connection is listed by the agent of its client (outbound) and of its server (inbound), where these are in the mesh. WORKLOAD
narrows to connections that begin or end at it: deploy/x, pod/x or x, with .NAMESPACE behind it for another than -n names.
${exitHelp()}

Examples:
  warren connections
  warren connections deploy/api --direction inbound -o wide
  warren connections -n production -o json | jq '.connections[] | select(.security == "none")'
  warren connections --node worker-2 --watch`;

export function registerConnections(program: Command, exit: Exit): void {
  const command = program
    .command("connections")
    .description("Lists the open connections of the mesh, with who is at both ends and how they are secured.")
    .argument("[workload]", "for example deploy/api")
    .addOption(new Option("--direction <direction>", "as the listing agent sees it").choices(["inbound", "outbound"]));
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (workload: string | undefined, flags: ConnectionsFlags) => exit(await connections(workload, flags)));
}

async function connections(workload: string | undefined, flags: ConnectionsFlags): Promise<number> {
  const [{ runListing }, { rowsOf }, { connectionRow, connectionsListing }, { podsOf }] = [
    await import("./output/run-listing.ts"),
    await import("./query/asked.ts"),
    await import("./query/connection-rows.ts"),
    await import("./query/live-workloads.ts"),
  ];
  const { direction, namespace, node: nodes = [], timeout: timeoutMs } = flags;
  return runListing(connectionsListing, flags, async (mesh, signal): Promise<Listed<ConnectionRow>> => {
    const pods = workload === undefined ? undefined : await podsOf(mesh, workload, namespace, signal);
    const asked = mesh.ask({ case: "listFlows", value: {} }, { nodes, timeoutMs }, signal);
    const rows = await rowsOf(asked, "flows", ({ flows }, { node }) => flows.map((flow) => connectionRow(node, flow)));
    const wanted = rows.filter(
      ({ direction: found, source, destination }) =>
        (direction === undefined || found === direction) &&
        (pods === undefined ||
          pods.has(`${source.namespace}/${source.pod}`) ||
          pods.has(`${destination.namespace}/${destination.pod}`)) &&
        (pods !== undefined ||
          namespace === undefined ||
          [source, destination].some((end) => end.namespace === namespace)),
    );
    return { rows: wanted, outcome: asked.outcome };
  });
}
