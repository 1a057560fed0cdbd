/** `warren certs`: the certificates of the mesh's workloads, on all nodes, and how long they last. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";
import type { Listed } from "./output/listing.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";
import type { CertificateLine } from "./query/certificate-rows.ts";

const help = `
One line for each identity on each node: pods of one ServiceAccount on a node share a certificate. WORKLOAD narrows to the identity
of its pods. A certificate is VALID between its dates; it is renewed at half its life, long before it ends.
${exitHelp("a certificate is not valid, or could not be had")}

Examples:
  warren certs -n production
  warren certs deploy/api -o json | jq -r '.certificates[].notAfter'
  warren certs --node worker-2 -o wide --watch`;

export function registerCerts(program: Command, exit: Exit): void {
  const command = program
    .command("certs")
    .description("Lists the certificates of the mesh: whose, valid until when, renewed when.")
    .argument("[workload]", "for example deploy/api");
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (workload: string | undefined, flags: ListFlags) => exit(await certs(workload, flags)));
}

async function certs(workload: string | undefined, flags: ListFlags): Promise<number> {
  const [
    { runListing },
    { rowsOf },
    { certificateLine, certificatesListing, isBad },
    { findWorkloads },
    { revokedBy },
  ] = [
    await import("./output/run-listing.ts"),
    await import("./query/asked.ts"),
    await import("./query/certificate-rows.ts"),
    await import("./query/workload-reference.ts"),
    await import("./query/revoked.ts"),
  ];
  const { namespace, node: nodes = [], timeout: timeoutMs } = flags;
  return runListing(certificatesListing, flags, async (mesh, signal): Promise<Listed<CertificateLine>> => {
    const view = await mesh.mesh(signal);
    const meant = workload && findWorkloads(view, workload, namespace ?? mesh.defaultNamespace);
    const identities = meant && new Set<string>(meant.map(({ identity }) => identity));
    const isRevoked = await revokedBy(view.settings);
    const asked = mesh.ask({ case: "listCertificates", value: {} }, { nodes, timeoutMs }, signal);
    const now = Date.now();
    const all = await rowsOf(asked, "certificates", ({ certificates }, { node }) =>
      certificates.map((certificate) => certificateLine(node, certificate, { now, isRevoked })),
    );
    const rows = all
      .filter((row) =>
        identities ? identities.has(row.identity) : namespace === undefined || row.namespace === namespace,
      )
      .sort((one, other) => (`${one.identity} ${one.node}` < `${other.identity} ${other.node}` ? -1 : 1));
    return { rows, outcome: asked.outcome, code: rows.some(isBad) ? 1 : 0 };
  });
}
