/** `warren describe`: the merged story of a workload. */
import type { Command } from "commander";
import { columns } from "../lib/columns.ts";
import type { Exit } from "./exit.ts";
import type { ListFormat } from "./output/mesh-flags.ts";
import type { Description } from "./query/description.ts";
import { addOutputOption, type Colours, printAnswer } from "./query/output.ts";
import { addSourceOptions, openSource, type SourceFlags } from "./query/source.ts";

type DescribeFlags = SourceFlags & { readonly output: ListFormat };

const help = `
WORKLOAD is deploy/x, pod/x (also sts/, ds/, job/, cronjob/), svc/x, x or an IP address, a name with .NAMESPACE behind it for another
namespace than -n names. A Deployment is described pod by pod.

What is told follows from the cluster's objects: enrolment and its reason, identity, effective PeerAuthentication of each port,
AuthorizationPolicies that select the pod, and the findings of warren lint about them.

Exit status:
  0  nothing is wrong
  1  an object about it can't be read, or a policy that selects it can't be evaluated
  2  there is no such workload
  3  there is no cluster to read: no lab is up and no kubeconfig leads to one, or the folder can't be read

Examples:
  warren describe deploy/api
  warren describe pod/client.outside -o yaml
  warren describe api -n shop --manifests deploy/
`;

export function registerDescribe(program: Command, exit: Exit): void {
  const command = program
    .command("describe")
    .description("Tells all that the mesh knows about a workload: enrolment, identity, modes, policies, problems.")
    .argument("<workload>", "for example deploy/api, pod/api-7c9d, api.production");
  addOutputOption(addSourceOptions(command))
    .addHelpText("after", help)
    .action(async (workload: string, flags: DescribeFlags) => exit(await describeCommand(workload, flags)));
}

async function describeCommand(reference: string, flags: DescribeFlags): Promise<number> {
  const [{ readCluster }, { describe }, { findWorkloads }] = [
    await import("./query/cluster.ts"),
    await import("./query/description.ts"),
    await import("./query/workload-reference.ts"),
  ];
  const source = await openSource(flags);
  const cluster = readCluster(source.objects, [], source);
  const workloads = findWorkloads(cluster.view, reference, source.defaultNamespace);
  const pods = workloads.map((workload) => describe(cluster, workload));
  await printAnswer(
    {
      schema: "warren.describe/v1",
      document: { pods },
      rows: pods,
      name: ({ namespace, name }) => `pod/${name}.${namespace}`,
      lines: (colours) => pods.flatMap((pod, at) => [...(at === 0 ? [] : [""]), ...descriptionLines(pod, colours)]),
    },
    flags,
  );
  const wrong = ({ problems, findings }: Description) =>
    problems.length > 0 || findings.some(({ severity }) => severity === "error");
  return pods.some(wrong) ? 1 : 0;
}

export function descriptionLines(pod: Description, colours: Colours): string[] {
  const { namespace, name, owner, mode, ports, policies, findings, problems } = pod;
  const enrolled = pod.enrolled ? colours.green("yes") : colours.yellow("no");
  return [
    colours.bold(`${namespace}/${name}`),
    ...columns([
      ["  owner", `${owner.kind} ${owner.name}`],
      ["  node", pod.node || "-"],
      ["  addresses", pod.addresses.join(", ") || "-"],
      ["  ready", pod.ready ? "yes" : "no"],
      ["  enrolled", `${enrolled}${pod.enrolledBecause === "" ? "" : ` (${pod.enrolledBecause})`}`],
      ["  identity", pod.identity],
      ["  mode", `${mode.mode} (${mode.policy || "the default"})`],
    ]),
    "",
    ...(ports.length === 0
      ? ["  no Service sends to it"]
      : columns([
          ["PORT", "MODE", "BY", "REQUESTS READ", "SERVICES"],
          ...ports.map(({ port, mode: own, readsHttp, services }) => [
            String(port),
            own.mode,
            own.policy || "-",
            readsHttp ? "yes" : "no",
            services.join(", ") || "-",
          ]),
        ])),
    "",
    ...(policies.length === 0
      ? [`  no AuthorizationPolicy selects it: ${pod.otherwise === "allow" ? "everybody may" : "nobody may"}`]
      : columns([
          ["POLICY", "ACTION", "RULES", "PROBLEMS"],
          ...policies.map(({ policy, action, dryRun, rules, problems: wrong }) => [
            policy,
            dryRun ? `${action} (dry run)` : action,
            String(rules),
            wrong.join("; ") || "-",
          ]),
        ])),
    ...problems.map(({ field, message }) => colours.red(`problem: ${field}: ${message}`)),
    ...findings.map(({ code, object, message }) => colours.yellow(`${code} ${object}: ${message}`)),
  ];
}
