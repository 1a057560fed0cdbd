/** `warren version`: this program, control and every agent, with the cryptography and the kernels they run on. */
import type { Command } from "commander";
import { version as ownVersion } from "../lib/version.ts";
import type { Control } from "../xds/gen/warren/operator/v1/operator_pb.ts";
import type { Exit } from "./exit.ts";
import type { Listing } from "./output/listing.ts";
import { addListOptions, exitHelp, type ListFlags } from "./output/mesh-flags.ts";
import type { NodeStatus } from "./query/node-statuses.ts";

interface VersionFlags extends ListFlags {
  readonly client?: true;
}

interface ClientVersion {
  readonly version: string;
  readonly node: string;
  readonly openssl: string;
  readonly fips: boolean;
  readonly aes: string;
  readonly kernel: string;
}

/** The version line of a node, or of a process beside it. */
export interface VersionRow extends ClientVersion {
  readonly component: "client" | "control" | "agent";
  /** Empty for the client; a replica's name for control. */
  readonly where: string;
  /** What this kernel can redirect traffic with, best first. */
  readonly backends: readonly {
    readonly name: string;
    readonly usable: boolean;
    readonly missing: readonly string[];
  }[];
  readonly engine: string;
}

const help = `
AES is what its instructions are on that processor: vaes avx512 and vaes are the widest, "none" costs most of the throughput. KERNEL
FEATURES says which ways of redirecting traffic were found to work there, by trying.
${exitHelp("components of different versions run")}

Examples:
  warren version
  warren version --client -o json
  warren version -o wide`;

export function registerVersion(program: Command, exit: Exit): void {
  const command = program
    .command("version")
    .description("Tells versions: of this program, control and agents; OpenSSL, FIPS, AES path, kernel features.")
    .option("--client", "of this program only");
  addListOptions(command)
    .addHelpText("after", help)
    .action(async (flags: VersionFlags) => exit(await version(flags)));
}

const listing: Listing<VersionRow> = {
  schema: "warren.version/v1",
  items: "components",
  columns: [
    { title: "COMPONENT", cell: ({ component }) => component },
    { title: "WHERE", cell: ({ where }) => where },
    { title: "VERSION", cell: (row) => row.version },
    { title: "NODE.JS", cell: ({ node }) => node },
    { title: "OPENSSL", cell: ({ openssl }) => openssl },
    { title: "FIPS", cell: ({ openssl, fips }) => (openssl === "" ? "" : fips ? "yes" : "no") },
    { title: "AES", cell: ({ aes }) => aes },
    { title: "KERNEL", cell: ({ kernel }) => kernel },
    {
      title: "KERNEL FEATURES",
      cell: ({ backends }) =>
        backends
          .filter(({ usable }) => usable)
          .map(({ name }) => name)
          .join(","),
    },
    { title: "ENGINE", cell: ({ engine }) => engine, wide: true },
    { title: "MISSING", cell: ({ backends }) => backends.flatMap(({ missing }) => missing).join("; "), wide: true },
  ],
  name: ({ component, where }) => (where === "" ? component : `${component}/${where}`),
  none: "",
};

async function version(flags: VersionFlags): Promise<number> {
  const [{ getFips }, { readMachine }, { printListing }] = [
    await import("node:crypto"),
    await import("../lib/machine.ts"),
    await import("./output/listing.ts"),
  ];
  const machine = await readMachine();
  const client: VersionRow = {
    component: "client",
    where: "",
    version: ownVersion,
    node: process.version,
    openssl: process.versions.openssl ?? "",
    fips: getFips() === 1,
    aes: machine.aes,
    kernel: machine.release,
    backends: [],
    engine: "",
  };
  if (flags.client === true) return printListing(listing, { rows: [client] }, flags);
  const [{ runListing }, { nodeStatuses }] = [
    await import("./output/run-listing.ts"),
    await import("./query/node-statuses.ts"),
  ];
  let connected = false;
  try {
    return await runListing(listing, flags, async (mesh, signal) => {
      connected = true;
      const options = { nodes: flags.node ?? [], timeoutMs: flags.timeout };
      const [controls, { rows, outcome }] = await Promise.all([
        mesh.controls(signal),
        nodeStatuses(mesh, options, signal),
      ]);
      const replicas = controls.map(controlRow);
      const all = [client, ...replicas, ...rows.filter(({ answered }) => answered).map(agentRow)];
      return { rows: all, outcome, code: all.some((row) => row.version !== ownVersion) ? 1 : 0 };
    });
  } catch (error) {
    // Where there is no mesh, this program still is one that has a version.
    if (!connected) await printListing(listing, { rows: [client] }, flags);
    throw error;
  }
}

/** A control that is older says nothing of what it runs on. */
function controlRow({ name, version: controlVersion, runtime, kernel }: Control): VersionRow {
  return {
    component: "control",
    where: name,
    version: controlVersion,
    node: runtime?.node ?? "",
    openssl: runtime?.openssl ?? "",
    fips: runtime?.fips ?? false,
    aes: runtime?.aes ?? "",
    kernel,
    backends: [],
    engine: "",
  };
}

function agentRow({ node, version: agentVersion, runtime, kernel, engine }: NodeStatus): VersionRow {
  return {
    component: "agent",
    where: node,
    version: agentVersion,
    node: runtime.node,
    openssl: runtime.openssl,
    fips: runtime.fips,
    aes: runtime.aes,
    kernel: kernel.release,
    backends: kernel.backends,
    engine,
  };
}
