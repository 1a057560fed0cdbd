/** `warren workloads`: every workload of the mesh, how peers reach it, and how far its enrolment is. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";

const help = `
PROTOCOL is how peers reach it: HBONE through its node's agent, TCP in plaintext. STATE is what its agent says of it: captured, or what
capture waits for; a pod that the mesh does not have is "not enrolled".
${exitHelp("an enrolled pod is not captured")}

Examples:
  warren workloads -n production
  warren workloads deploy/api -o wide
  warren workloads -o json | jq '.workloads[] | select(.protocol == "TCP").name'`;

export function registerWorkloads(program: Command, exit: Exit): void {
  const command = program
    .command("workloads")
    .description("Lists workloads: address, node, protocol, how far enrolment is, identity.")
    .argument("[workload]", "for example deploy/api");
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (workload: string | undefined, flags: ListFlags) => exit(await workloads(workload, flags)));
}

async function workloads(reference: string | undefined, flags: ListFlags): Promise<number> {
  const [{ runListing }, { rowsOf }, { isUncaptured, workloadRow, workloadsListing }, { findWorkloads }] = [
    await import("./output/run-listing.ts"),
    await import("./query/asked.ts"),
    await import("./query/workload-rows.ts"),
    await import("./query/workload-reference.ts"),
  ];
  const { namespace, node: nodes = [], timeout: timeoutMs } = flags;
  return runListing(workloadsListing, flags, async (mesh, signal) => {
    const view = await mesh.mesh(signal);
    const meant =
      reference === undefined
        ? [...view.workloads()].filter((workload) => namespace === undefined || workload.namespace === namespace)
        : findWorkloads(view, reference, namespace ?? mesh.defaultNamespace);
    const asked = mesh.ask({ case: "listPods", value: {} }, { nodes, timeoutMs }, signal);
    const pods = new Map(
      await rowsOf(asked, "pods", (page) => page.pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod] as const)),
    );
    const rows = meant
      .filter(({ node }) => nodes.length === 0 || nodes.includes(node))
      .map((workload) => workloadRow(workload, pods.get(`${workload.namespace}/${workload.name}`)))
      .sort((one, other) => (`${one.namespace}/${one.name}` < `${other.namespace}/${other.name}` ? -1 : 1));
    return { rows, outcome: asked.outcome, code: rows.some(isUncaptured) ? 1 : 0 };
  });
}
