/** `warren check`: looks for what is wrong, or would be, and says what to do about each. */
import { type Command, Option } from "commander";
import { MeshError } from "../lib/errors.ts";
import type { Exit } from "./exit.ts";
import { addMeshOptions, addWatchOption, type ListFormat, listFormats, type MeshFlags } from "./output/mesh-flags.ts";
import type { Check } from "./query/check-report.ts";
import type { MeshClient } from "./query/mesh-client.ts";

export interface CheckFlags extends MeshFlags {
  readonly pre?: true;
  readonly output: ListFormat | "short";
  readonly failOn: "warning" | "failure";
  readonly watch?: true;
}

const help = `
√ is fine, ‼ a warning, × a failure, - could not be looked at. Each that is not fine comes with a hint.

With --pre nothing of the mesh is needed: it tries on this machine whether an agent could run here (kernel features are tried, not
guessed from versions), and with a kubeconfig it asks the cluster what an installation would meet. A cluster's nodes are looked at by
running it on each, or after installation by warren check.

Exit status:
  0  nothing at or above --fail-on
  1  something at or above --fail-on
  2  the command line is wrong
  3  there is no mesh to ask, or not every node answered

Examples:
  warren check
  warren check --pre
  warren check --pre --context staging -o json
  warren check -o short --fail-on warning`;

export function registerCheck(program: Command, exit: Exit): void {
  const command = program
    .command("check")
    .description("Checks the health of the mesh, or with --pre whether this machine and cluster are ready for it.");
  addWatchOption(addMeshOptions(command))
    .option("--pre", "before an installation: look at this machine, and at the cluster of the kubeconfig")
    .option("--node <name...>", "only these nodes (default: the whole mesh)")
    .addOption(
      new Option("-o, --output <format>", "how to print; short leaves out what is fine")
        .choices([...listFormats, "short"])
        .default("table"),
    )
    .addOption(
      new Option("--fail-on <severity>", "what makes it exit 1").choices(["warning", "failure"]).default("failure"),
    )
    .addHelpText("after", help)
    .action(async (flags: CheckFlags) => exit(await check(flags)));
}

/** What may come to a cluster after the mesh: another one, nodes and pods that can't be in it. */
async function aroundIt({ ground }: MeshClient, signal: AbortSignal): Promise<readonly Check[]> {
  if (ground.kind !== "kubernetes") return [];
  const [{ clusterChecks, lastingCodes }, { ApiClient, apiClientDefaults }] = [
    await import("./query/cluster-preflight.ts"),
    await import("../control/kubernetes/api-client.ts"),
  ];
  const api = new ApiClient({ ...apiClientDefaults, context: ground.context ?? "" });
  return (await clusterChecks(api, ground.meshNamespace, signal)).filter(({ code }) => lastingCodes.has(code));
}

async function check(flags: CheckFlags): Promise<number> {
  const { endOf, findingsAnswer } = await import("./query/check-report.ts");
  // `short` is a table without what is fine.
  const { output, ...rest } = flags;
  const printing = { ...rest, output: output === "short" ? "table" : output };
  if (flags.pre === true) {
    if (flags.watch === true)
      throw new MeshError("MESH_CONFIG_WATCH", "--pre looks once: it tries on this machine what an agent would do");
    const [{ preflight }, { printAnswer }, { tellAdvice }] = [
      await import("./query/preflight.ts"),
      await import("./query/output.ts"),
      await import("./output/listing.ts"),
    ];
    const checks = await preflight(flags);
    await printAnswer(findingsAnswer(checks, flags), printing);
    const { advice, code } = endOf(checks, flags);
    tellAdvice(advice, printing.output);
    return code;
  }
  const [{ runAnswer }, { healthChecks }] = [
    await import("./output/run-listing.ts"),
    await import("./query/health-checks.ts"),
  ];
  return runAnswer(printing, async (mesh, signal) => {
    const options = { nodes: flags.node ?? [], timeoutMs: flags.timeout };
    const found = await healthChecks(mesh, options, signal);
    const checks = [...found.checks, ...(await aroundIt(mesh, signal))];
    return { answer: findingsAnswer(checks, flags), outcome: found.outcome, ...endOf(checks, flags) };
  });
}
