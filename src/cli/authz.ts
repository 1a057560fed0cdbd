/** `warren authz explain`: why a connection or a request is let in or refused, by the decider that runs in the agent. */
import type { Command } from "commander";
import { columns } from "../lib/columns.ts";
import { reasonInfo } from "../model/reason.ts";
import type { PolicyTrace } from "../policy/explain.ts";
import type { Exit } from "./exit.ts";
import type { ListFormat } from "./output/mesh-flags.ts";
import { addOutputOption, type Colours, printAnswer } from "./query/output.ts";
import type { ExplainedAnswer, QuestionFlags } from "./query/question.ts";
import { addSourceOptions, openSource, type SourceFlags } from "./query/source.ts";

type ExplainFlags = QuestionFlags & SourceFlags & { readonly output: ListFormat };

const help = `
WORKLOAD is deploy/x, pod/x (also sts/, ds/, job/, cronjob/), svc/x, x or an IP address, a name with .NAMESPACE behind it for another
namespace than -n names. The port is the workload's own, with svc/x the Service's. Every pod that is meant is asked about; pods to which the same is
said share one answer.

Without any of --method, --path, --host and --header the connection alone is judged; where requests decide, the answer is
DEPENDS. With one of them the others default to GET, /, and the workload's name.

Whether the source's identity is proven at the destination follows from the mesh's state: pods that are not enrolled, and
traffic to a port whose PeerAuthentication is DISABLE, arrive in plaintext. --from plaintext asks for a client outside the mesh.

Exit status:
  0  every pod lets it in
  1  some pod refuses it, or what the request says decides
  2  the question is not one: an unknown workload, a malformed flag
  3  there is no cluster to read: no lab is up and no kubeconfig leads to one, or the folder can't be read

Examples:
  warren authz explain --from production/frontend --to deploy/api:8080 --method GET
  warren authz explain --from outside/client --to api.production:8080 --method POST --path /orders
  warren authz explain --from plaintext --to pod/api-0:8080 --source-ip 10.0.0.9 -o json
  warren authz explain --from shop/web --to deploy/api:8080 --manifests deploy/ -n shop --header x-tenant=blue
`;

export function registerAuthz(program: Command, exit: Exit): void {
  const authz = program.command("authz").description("Who may talk to whom.");
  const command = authz
    .command("explain")
    .description("Tells whether a connection or request is let in, and which policy and rule say so.")
    .requiredOption("--from <source>", "namespace/serviceaccount of the client, or plaintext")
    .requiredOption("--to <workload:port>", "the destination, for example deploy/api:8080")
    .option("--method <method>", "of the request")
    .option("--path <path>", "of the request; normalised as the agent does")
    .option("--host <host>", "of the request")
    .option("--header <name=value...>", "headers of the request")
    .option("--source-ip <address>", "the client's address (default: that of a pod with this ServiceAccount)");
  addOutputOption(addSourceOptions(command))
    .addHelpText("after", help)
    .action(async (flags: ExplainFlags) => exit(await explainCommand(flags)));
}

async function explainCommand(flags: ExplainFlags): Promise<number> {
  const [{ readCluster }, { allAllowed, answer }] = [
    await import("./query/cluster.ts"),
    await import("./query/question.ts"),
  ];
  const source = await openSource(flags);
  const { view } = readCluster(source.objects, [], source);
  const answers = answer(view, source.defaultNamespace, flags);
  const allowed = allAllowed(answers);
  await printAnswer(
    {
      schema: "warren.authz-explain/v1",
      document: { allowed, answers },
      rows: answers,
      name: ({ pods, port }) => pods.map((pod) => `${pod}:${port}`).join("\n"),
      lines: (colours) =>
        answers.flatMap((one, at) => [...(at === 0 ? [] : [""]), ...answerLines(one, flags, colours)]),
    },
    flags,
  );
  return allowed ? 0 : 1;
}

export function answerLines(one: ExplainedAnswer, flags: QuestionFlags, colours: Colours): string[] {
  const { pods, port, identity, sourceAddress, mode, policies, notes } = one;
  return [
    `${verdict(one, colours)}  ${flags.from} -> ${pods.join(", ")}:${port}${requestText(flags)}`,
    ...columns([
      ["  because", because(one)],
      ["  arrives", identity === "" ? `in plaintext from ${sourceAddress}` : `as ${identity} from ${sourceAddress}`],
      ["  mode", `${mode.mode} (${mode.policy === "" ? "the default" : mode.policy})`],
    ]),
    ...notes.map((note) => colours.dim(`  note: ${note}`)),
    ...(policies.length === 0 ? ["  no AuthorizationPolicy selects it"] : ["", ...columns(policyRows(policies))]),
  ];
}

function verdict({ enforced, outcome }: ExplainedAnswer, colours: Colours): string {
  if (!enforced) return colours.yellow("ALLOW");
  switch (outcome) {
    case "allow":
      return colours.green("ALLOW");
    case "deny":
      return colours.red("DENY");
    case "needs-http":
      return colours.yellow("DEPENDS");
  }
}

function because({ enforced, outcome, reason, decidedBy, rule, policies }: ExplainedAnswer): string {
  if (!enforced) return "the destination is not enrolled";
  const action = policies.find(({ policy }) => policy === decidedBy)?.action;
  if (decidedBy !== "" && rule >= 0 && outcome !== "needs-http") {
    return `${decidedBy}: ${action ?? "its"} rule ${rule} matches`;
  }
  switch (outcome) {
    case "allow":
      return "no policy speaks against it";
    case "needs-http":
      return "each request on the connection is judged; say which with --method, --path, --host, --header";
    case "deny": {
      const { text, hint } = reasonInfo(reason);
      const who = decidedBy === "" ? "" : `${decidedBy}: `;
      if (reason !== "policy-denied") return `${who}${text} (${reason}); ${hint}`;
      return policies.length === 0 ? "the default is to deny" : `${who}no ALLOW rule matches`;
    }
  }
}

function requestText({ method, path, host, header }: QuestionFlags): string {
  if (method === undefined && path === undefined && host === undefined && header === undefined) return "";
  const named = [host === undefined ? "" : `host ${host}`, ...(header ?? [])].filter((text) => text !== "");
  return `  ${method ?? "GET"} ${path ?? "/"}${named.length === 0 ? "" : ` (${named.join(", ")})`}`;
}

function policyRows(policies: readonly PolicyTrace[]): string[][] {
  const rows = policies.flatMap(({ policy, action, dryRun, result, problems, rules }): string[][] => {
    const head = [policy, dryRun ? `${action} (dry run)` : action];
    if (rules.length === 0) return [[...head, "-", result, problems.join("; ") || (problems.length > 0 ? "" : "-")]];
    return rules.map(({ index, answer: said, missing }) => [
      ...head,
      String(index),
      said === "yes" ? "matches" : said === "later" ? "needs HTTP" : "no match",
      missing.map(({ field, values }) => `${field} = ${values.join(" | ")}`).join("; ") || "-",
    ]);
  });
  return [["POLICY", "ACTION", "RULE", "RESULT", "ASKED IN VAIN"], ...rows];
}
