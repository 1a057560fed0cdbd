/** `warren proxy-config`: the questions that people know from sidecar meshes, answered for a workload: its certificates, its ports. */
import { type Command, InvalidArgumentError } from "commander";
import type { Workload } from "../model/workload.ts";
import type { Exit } from "./exit.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";
import { duration } from "./tls-check.ts";

const references = `
WORKLOAD is deploy/x, pod/x (also sts/, ds/, job/, cronjob/), svc/x, x or an IP address, a name with .NAMESPACE behind it for another
namespace than -n names.
There is no proxy in the pod: what is shown is what its node's agent holds for it.
${exitHelp()}
`;

const secretHelp = `${references}
-o json prints {"dynamicActiveSecrets": [...]} with certificate chains as base64 of PEM; keys never leave their agent.

Examples:
  warren proxy-config secret deploy/api
  warren proxy-config secret deploy/api | grep VALID
  warren proxy-config secret deploy/api -o json | jq -r '.dynamicActiveSecrets[0].secret.tlsCertificate.certificateChain.inlineBytes' |
    base64 -d | openssl x509 -noout -text`;

const listenersHelp = `${references}
Examples:
  warren proxy-config listeners deploy/api --port 8080
  warren proxy-config listeners deploy/api -o json`;

interface ListenersFlags extends ListFlags {
  readonly port?: number;
  readonly window: number;
}

export function registerProxyConfig(program: Command, exit: Exit): void {
  const group = program.command("proxy-config").description("What the agent of a workload's node holds for it.");
  const secret = group
    .command("secret")
    .description("Lists the workload's certificate and the roots it trusts.")
    .argument("<workload>", "for example deploy/api");
  addListOptions(secret)
    .addHelpText("after", secretHelp)
    .action(async (workload: string, flags: ListFlags) => exit(await secrets(workload, flags)));
  const listener = group
    .command("listeners")
    .description(
      "Lists the workload's ports: what each accepts, which policy set that, and who last came in plaintext.",
    )
    .argument("<workload>", "for example deploy/api")
    .option("--port <port>", "only this port", port)
    .option("--window <duration>", "how far back clients count, at most 7d", duration, 3_600_000);
  addListOptions(listener)
    .addHelpText("after", listenersHelp)
    .action(async (workload: string, flags: ListenersFlags) => exit(await listeners(workload, flags)));
}

function port(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 65_535) throw new InvalidArgumentError("Write a port, 1 to 65535.");
  return value;
}

async function secrets(reference: string, flags: ListFlags): Promise<number> {
  const [{ runListing }, { secretRows, secretsListing }, { findWorkloads }, { rowsOf }, { revokedBy }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/secret-rows.ts"),
    await import("./query/workload-reference.ts"),
    await import("./query/asked.ts"),
    await import("./query/revoked.ts"),
  ];
  return runListing(secretsListing, flags, async (mesh, signal) => {
    const view = await mesh.mesh(signal);
    const workloads = findWorkloads(view, reference, flags.namespace ?? mesh.defaultNamespace);
    const [now, isRevoked] = [Date.now(), await revokedBy(view.settings)];
    const nodes = [...new Set(workloads.map(({ node }) => node))].filter((node) => flags.node?.includes(node) ?? true);
    const identities = new Set<string>(workloads.map(({ identity }) => identity));
    const asked = mesh.ask({ case: "listCertificates", value: {} }, { nodes, timeoutMs: flags.timeout }, signal);
    const rows = await rowsOf(asked, "certificates", ({ certificates }, { node }) =>
      certificates
        .filter(({ identity }) => identities.has(identity))
        .flatMap((one) => secretRows(node, one, { now, isRevoked })),
    );
    return { rows, outcome: asked.outcome, advice: rows.length === 0 ? whyNone(workloads) : "" };
  });
}

function whyNone(workloads: readonly Workload[]): string {
  if (workloads.every(({ tunnel }) => tunnel === "none")) return "the workload is not enrolled, so it needs none";
  return "it is enrolled: its node's agent did not answer, or has none yet; see warren certs, warren status";
}

async function listeners(reference: string, flags: ListenersFlags): Promise<number> {
  const [{ runListing }, { portFacts }, { listenerRow, listenersListing }, { spanText }] = [
    await import("./output/run-listing.ts"),
    await import("./traffic/port-facts.ts"),
    await import("./traffic/listener-rows.ts"),
    await import("./output/words.ts"),
  ];
  const { namespace, node: nodes = [], timeout: timeoutMs, window, port: wanted } = flags;
  return runListing(listenersListing(spanText(window), Date.now()), flags, async (mesh, signal) => {
    const question = { reference, namespace, nodes, timeoutMs, window };
    const { view, workloads, rows, outcome } = await portFacts(mesh, question, signal);
    const meant = rows.filter(({ port: found }) => wanted === undefined || found === wanted);
    return { rows: meant.map((row) => listenerRow(view, workloads, row)), outcome };
  });
}
