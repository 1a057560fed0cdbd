/** `warren tls-check`: what every port accepts, and what was seen to come. Also as `warren authn tls-check`. */
import { type Command, InvalidArgumentError } from "commander";
import { parseDuration } from "../lib/duration.ts";
import type { Exit } from "./exit.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";
import type { TlsStatus } from "./traffic/tls-check-rows.ts";

interface TlsCheckFlags extends ListFlags {
  readonly window: number;
  readonly failOn: string;
}

const help = `
WORKLOAD is deploy/x, pod/x (also sts/, ds/, job/, cronjob/), svc/x, x or an IP address, a name with .NAMESPACE behind it for another
namespace than -n names.
Without one all workloads are listed.

STATUS:
  OK         STRICT: nothing but mutual TLS gets in
  READY      plaintext would be let in; every client of the window used mutual TLS
  QUIET      plaintext would be let in; nobody came in the window
  MIXED      both came        PLAINTEXT  plaintext alone came
  DISABLED   the port takes no tunnels, by policy
  UNCOVERED  the mesh does not see it: UDP, host network, not enrolled, an agent that does not answer

SERVER and POLICY are what holds now; CLIENTS counts who came in the window, as the destination's agent saw it.
${exitHelp("with --fail-on plaintext: a port is MIXED, PLAINTEXT or DISABLED; with --fail-on uncovered: or UNCOVERED")}

Examples:
  warren tls-check deploy/api -n production
  warren tls-check api.production --window 24h -o wide
  warren tls-check -n production -o json | jq '.ports[] | select(.status != "OK") | .hostPort'
  warren tls-check --fail-on plaintext
  warren authn tls-check deploy/api.production`;

export function registerTlsCheck(program: Command, exit: Exit): void {
  addTlsCheck(program, exit);
}

export function registerAuthn(program: Command, exit: Exit): void {
  addTlsCheck(program.command("authn").description("Who proves who they are."), exit);
}

function addTlsCheck(parent: Command, exit: Exit): void {
  const command = parent
    .command("tls-check")
    .description(
      "Tells for each port what it accepts, which policy set that, and which clients came with mutual TLS and which without.",
    )
    .argument("[workload]", "for example deploy/api.production")
    .option("--window <duration>", "how far back clients count, at most 7d", duration, 3_600_000)
    .option("--fail-on <what>", "end with 1 on plaintext or uncovered ports", failOn, "nothing");
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (workload: string | undefined, flags: TlsCheckFlags) => exit(await tlsCheck(workload, flags)));
}

export function duration(text: string): number {
  const value = parseDuration(text);
  if (value === undefined || value < 1000) throw new InvalidArgumentError("Write a duration, for example 1h or 7d.");
  return value;
}

function failOn(text: string): string {
  if (["nothing", "plaintext", "uncovered"].includes(text)) return text;
  throw new InvalidArgumentError("Write nothing, plaintext or uncovered.");
}

async function tlsCheck(reference: string | undefined, flags: TlsCheckFlags): Promise<number> {
  const [{ runListing }, { portFacts }, { tlsCheckListing, watchedAdvice }, { spanText }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/port-facts.ts"),
    await import("./traffic/tls-check-rows.ts"),
    await import("./output/words.ts"),
  ];
  const { namespace, node: nodes = [], timeout: timeoutMs, window } = flags;
  return runListing(tlsCheckListing(spanText(window), Date.now()), flags, async (mesh, signal) => {
    const question = { reference, namespace, nodes, timeoutMs, window };
    const { rows, since, outcome } = await portFacts(mesh, question, signal);
    const found = rows.some(({ status }) => isFinding(status, flags.failOn));
    return { rows, outcome, advice: watchedAdvice(since, window, Date.now()), code: found ? 1 : 0 };
  });
}

function isFinding(status: TlsStatus, failing: string): boolean {
  if (failing === "nothing") return false;
  if (status === "UNCOVERED") return failing === "uncovered";
  return status === "MIXED" || status === "PLAINTEXT" || status === "DISABLED";
}
