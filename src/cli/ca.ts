/** `warren ca`: the mesh's certificate authority: status, rotate, revoke, restore, verify. */
import { type Command, Option } from "commander";
import { addCaOptions, type CaFlags } from "./ca/flags.ts";
import type { RevokeFlags } from "./ca/revoke.ts";
import type { RotateFlags } from "./ca/rotate.ts";
import type { VerifyFlags } from "./ca/verify.ts";
import type { Exit } from "./exit.ts";
import { addWatchOption, milliseconds } from "./output/mesh-flags.ts";
import type { AnswerFlags } from "./output/run-listing.ts";

const exitHelp = `
Exit status:
  0  fine
  1  something is wrong with what was found, or control refuses
  2  the command line is wrong
  3  control, an agent or an endpoint cannot be reached
  4  the wait timed out`;

const statusHelp = `${exitHelp}

Examples:
  warren ca status
  warren ca status -o json | jq -r '.certificates[] | "\\(.kind) \\(.notAfter)"'`;

const rotateHelp = `
The root is rotated in steps, none of which can be skipped: every agent learns to trust the new root; when all have, it issues, and
agents renew; when nothing in use comes from the old root, that is retired. Control carries this on by itself, also through restarts:
the command only begins it and tells of it, and called again it tells on. An agent that is away holds the rotation up and is told by
name. --force goes on without the nodes that are waited for now, in this step alone: their pods lose their connections to the others
until their agent is back and has renewed.
${exitHelp}

Examples:
  warren ca rotate
  warren ca rotate --no-wait
  warren ca rotate --force worker-7
  warren ca rotate --intermediate`;

const revokeHelp = `
--serial puts a certificate on the revocation list: agents refuse it and close what it opened; an agent that uses it fetches another.
--identity refuses an identity everywhere, whatever certificate it shows, and issues none for it, until warren ca restore; the
certificates of it that agents have now are put on the list, and stay there.
${exitHelp}

Examples:
  warren ca revoke --serial 5f:0c:a2:11
  warren ca revoke --identity spiffe://cluster.local/ns/production/sa/frontend
  warren ca restore spiffe://cluster.local/ns/production/sa/frontend`;

const restoreHelp = `${exitHelp}

Examples:
  warren ca restore spiffe://cluster.local/ns/production/sa/frontend`;

const verifyHelp = `
A file holds a chain in PEM, leaf first. A folder holds plug-in certificates (ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem,
ca-crl.pem, or tls.crt, tls.key, ca.crt) and is judged as control judges it before it issues from them. An endpoint is asked for what
it shows in a TLS handshake. Trusted is what the mesh trusts; with --roots nothing of a mesh is asked.
${exitHelp}

Examples:
  warren ca verify chain.pem --roots root.pem
  warren ca verify ./cacerts
  warren ca verify --endpoint 10.244.1.7:15008
  warren ca verify --endpoint warren-control.warren-system:15012 -o json`;

export function registerCa(program: Command, exit: Exit): void {
  const ca = program.command("ca").description("The mesh's certificate authority.");
  const status = ca.command("status").description("Roots, intermediate, rotation, revocations; how long each lasts.");
  addWatchOption(addCaOptions(status))
    .addHelpText("after", statusHelp)
    .action(async (flags: AnswerFlags) => exit(await (await import("./ca/status.ts")).caStatus(flags)));
  addCaOptions(ca.command("rotate").description("Rotates the root step by step, or the intermediate at once."))
    .option("--intermediate", "only the intermediate, under the same root: at once, and nobody has to be waited for")
    .option("--force [node...]", "go on without these nodes, or without all that are waited for")
    .option("--no-wait", "begin, and don't tell on")
    .option("--wait-timeout <duration>", "how long to tell on", milliseconds, 3_600_000)
    .addHelpText("after", rotateHelp)
    .action(async (flags: RotateFlags) => exit(await (await import("./ca/rotate.ts")).rotate(flags)));
  addCaOptions(
    ca.command("revoke").description("Revokes certificates or identities, at once and for what is open too."),
  )
    .option("--serial <serial...>", "hexadecimal, with or without colons")
    .option("--identity <id...>", "spiffe://trust-domain/ns/namespace/sa/account")
    .addHelpText("after", revokeHelp)
    .action(async (flags: RevokeFlags) => exit(await (await import("./ca/revoke.ts")).revoke(flags)));
  addCaOptions(ca.command("restore").description("Lets revoked identities in again."))
    .argument("<identity...>", "spiffe://trust-domain/ns/namespace/sa/account")
    .addHelpText("after", restoreHelp)
    .action(async (identities: string[], flags: CaFlags) =>
      exit(await (await import("./ca/revoke.ts")).restore(identities, flags)),
    );
  addCaOptions(ca.command("verify").description("Judges chains, endpoints and plug-in certificates."))
    .argument("[path...]", "PEM files and folders")
    .option("--endpoint <address...>", "host:port that speaks TLS")
    .option("--roots <file>", "PEM of the roots to trust, instead of the mesh's")
    .option("--crl <file>", "with --roots: PEM of revocation lists")
    .option("--trust-domain <name...>", "with --roots: accepted in identities (default: cluster.local)")
    .addOption(
      new Option("--role <role>", "what the owner of a file is").choices(["client", "server"]).default("server"),
    )
    .addHelpText("after", verifyHelp)
    .action(async (paths: string[], flags: VerifyFlags) =>
      exit(await (await import("./ca/verify.ts")).verify(paths, flags)),
    );
}
