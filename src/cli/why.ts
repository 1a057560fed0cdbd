/** `warren why`: why a connection is refused or goes in clear: both agents' views, joined. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import { addMeshOptions, addWatchOption, exitHelp, type ListFormat, type MeshFlags } from "./output/mesh-flags.ts";
import { addOutputOption, type Colours } from "./query/output.ts";
import type { QuestionFlags } from "./query/question.ts";
import { duration } from "./tls-check.ts";
import type { PairAnswer } from "./traffic/explain-pair.ts";

interface WhyFlags extends MeshFlags, Pick<QuestionFlags, "method" | "path" | "host" | "header"> {
  readonly since: number;
  readonly output: ListFormat;
  readonly watch?: true;
}

const help = `
SRC and DST are workloads: deploy/x, pod/x (also sts/, ds/, job/, cronjob/), svc/x, x or an IP address, a name with .NAMESPACE behind it
for another namespace than -n names. DST may name a port: the workload's own, deploy/api:8080, or a Service's, svc/api:80; without one
every port that a Service sends to is answered for.
SRC may be plaintext, for a client outside the mesh.

What policy says now is joined with what both agents have seen: refusals with their reasons (docs/reasons.md), enrolment, certificates,
clocks, what listens, and connections from before enrolment. Where policy reads requests the connection alone is let in: the answer is
DEPENDS, requests that were refused are told with their policy, and --method, --path, --host and --header ask about one.
${exitHelp("the connection or request would be refused, or a sure cause for trouble was found")}

Examples:
  warren why deploy/frontend deploy/api
  warren why client.outside deploy/api:8080
  warren why deploy/frontend deploy/api --method POST --path /orders
  warren why plaintext api.production:8080 -o json | jq '.answers[].causes[].text'`;

export function registerWhy(program: Command, exit: Exit): void {
  const command = program
    .command("why")
    .description("Tells why a connection is refused or goes in clear, from both ends' agents.")
    .argument("<src>", "the client, for example deploy/frontend, or plaintext")
    .argument("<dst>", "the destination, for example deploy/api:8080")
    .option("--since <duration>", "how far back agents look, at most 7d", duration, 24 * 3_600_000)
    .option("--method <method>", "of a request to ask about")
    .option("--path <path>", "of the request; normalised as the agent does")
    .option("--host <host>", "of the request")
    .option("--header <name=value...>", "headers of the request")
    .option("-n, --namespace <namespace>", "of what names none");
  addWatchOption(addMeshOptions(addOutputOption(command)))
    .addHelpText("after", help)
    .action(async (from: string, to: string, flags: WhyFlags) => exit(await why(from, to, flags)));
}

async function why(from: string, to: string, flags: WhyFlags): Promise<number> {
  const [{ runAnswer }, { explainPair }, { answerLines }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/explain-pair.ts"),
    await import("./traffic/why-lines.ts"),
  ];
  return runAnswer(flags, async (mesh, signal) => {
    const { namespace = mesh.defaultNamespace, since: window, timeout: timeoutMs } = flags;
    const { method, path, host, header } = flags;
    const request = {
      ...(method !== undefined && { method }),
      ...(path !== undefined && { path }),
      ...(host !== undefined && { host }),
      ...(header !== undefined && { header }),
    };
    const asked = { from, to, namespace, window, timeoutMs, request };
    const { answers, outcome } = await explainPair(mesh, asked, signal);
    const bad = answers.some(
      (one) => one.outcome === "DENY" || one.causes.some(({ certainty }) => certainty === "sure"),
    );
    const answer = {
      schema: "warren.why/v1",
      document: { fanOut: outcome, answers },
      rows: answers,
      name: ({ source, destination, port }: PairAnswer) => `${source.name} ${destination.name}:${port}`,
      lines: (colours: Colours) => answers.flatMap((one) => answerLines(one, colours)),
    };
    return { answer, outcome, code: bad ? 1 : 0 };
  });
}
