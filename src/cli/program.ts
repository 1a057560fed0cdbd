/**
 * The command line: one file per verb in this folder. A verb's file is loaded only when that verb runs, so that `--help` stays as
 * quick as Node itself. Exit codes: 0 fine, 1 findings or failure, 2 usage or configuration, 3 unreachable or partial,
 * 4 wait timed out.
 */
import { Command, CommanderError } from "commander";
import { MeshError } from "../lib/errors.ts";
import { version } from "../lib/version.ts";
import type { Exit } from "./exit.ts";

interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly register: (program: Command, exit: Exit) => Promise<void>;
}

const verbs: readonly Verb[] = [
  {
    name: "demo",
    summary: "build a two-node lab, run real programs in it and show what the mesh does to their traffic",
    register: async (program, exit) => (await import("./demo.ts")).registerDemo(program, exit),
  },
  {
    name: "lab",
    summary: "a cluster out of network namespaces on this machine: up, exec, apply, status, down",
    register: async (program, exit) => (await import("./lab.ts")).registerLab(program, exit),
  },
  {
    name: "node",
    summary: "the agent of one node: captures pods, carries their traffic, enforces policy",
    register: async (program, exit) => (await import("./node.ts")).registerNode(program, exit),
  },
  {
    name: "control",
    summary: "the control plane: certificate authority of the mesh",
    register: async (program, exit) => (await import("./control.ts")).registerControl(program, exit),
  },
  {
    name: "status",
    summary: "every node at a glance: agents, captured pods, certificates, age of configuration",
    register: async (program, exit) => (await import("./status.ts")).registerStatus(program, exit),
  },
  {
    name: "workloads",
    summary: "workloads of the mesh: address, node, protocol, enrolment",
    register: async (program, exit) => (await import("./workloads.ts")).registerWorkloads(program, exit),
  },
  {
    name: "services",
    summary: "Services as the mesh routes to them",
    register: async (program, exit) => (await import("./services.ts")).registerServices(program, exit),
  },
  {
    name: "policies",
    summary: "policies in force, and what they select",
    register: async (program, exit) => (await import("./policies.ts")).registerPolicies(program, exit),
  },
  {
    name: "certs",
    summary: "certificates of the mesh: whose, valid until when",
    register: async (program, exit) => (await import("./certs.ts")).registerCerts(program, exit),
  },
  {
    name: "log",
    summary: "what agents write to their logs, changed while they run",
    register: async (program, exit) => (await import("./log.ts")).registerLog(program, exit),
  },
  {
    name: "version",
    summary: "versions of this program, control and agents; OpenSSL, FIPS, AES path, kernels",
    register: async (program, exit) => (await import("./version.ts")).registerVersion(program, exit),
  },
  {
    name: "connections",
    summary: "open connections of the mesh: who, with whom, how secured",
    register: async (program, exit) => (await import("./connections.ts")).registerConnections(program, exit),
  },
  {
    name: "tls-check",
    summary: "what every port accepts, which policy set that, and who came with mutual TLS",
    register: async (program, exit) => (await import("./tls-check.ts")).registerTlsCheck(program, exit),
  },
  {
    name: "authn",
    summary: "who proves who they are: tls-check",
    register: async (program, exit) => (await import("./tls-check.ts")).registerAuthn(program, exit),
  },
  {
    name: "tap",
    summary: "connections and requests as they happen",
    register: async (program, exit) => (await import("./tap.ts")).registerTap(program, exit),
  },
  {
    name: "top",
    summary: "what moves between workloads now",
    register: async (program, exit) => (await import("./top.ts")).registerTop(program, exit),
  },
  {
    name: "why",
    summary: "why a connection is refused, or goes in clear: both agents' views, joined",
    register: async (program, exit) => (await import("./why.ts")).registerWhy(program, exit),
  },
  {
    name: "proxy-config",
    summary: "what an agent holds for a workload: secret, listeners",
    register: async (program, exit) => (await import("./proxy-config.ts")).registerProxyConfig(program, exit),
  },
  {
    name: "edges",
    summary: "who talks to whom, and whether it is secured",
    register: async (program, exit) => (await import("./edges.ts")).registerEdges(program, exit),
  },
  {
    name: "plaintext",
    summary: "who still speaks in clear and why; what STRICT would break",
    register: async (program, exit) => (await import("./plaintext.ts")).registerPlaintext(program, exit),
  },
  {
    name: "ca",
    summary: "the mesh's certificate authority: status, rotate, revoke, restore, verify",
    register: async (program, exit) => (await import("./ca.ts")).registerCa(program, exit),
  },
  {
    name: "authz",
    summary: "why a connection or request is let in or refused: explain",
    register: async (program, exit) => (await import("./authz.ts")).registerAuthz(program, exit),
  },
  {
    name: "describe",
    summary: "all that the mesh knows about a workload",
    register: async (program, exit) => (await import("./describe.ts")).registerDescribe(program, exit),
  },
  {
    name: "lint",
    summary: "policies that cannot work, or are probably not what is meant",
    register: async (program, exit) => (await import("./lint.ts")).registerLint(program, exit),
  },
  {
    name: "check",
    summary: "what is wrong with the mesh, or would be on this machine or cluster: with hints",
    register: async (program, exit) => (await import("./check.ts")).registerCheck(program, exit),
  },
  {
    name: "enroll",
    summary: "bring a namespace, workload or pod into the mesh, wait, verify",
    register: async (program, exit) => (await import("./enroll.ts")).registerEnroll(program, exit),
  },
  {
    name: "unenroll",
    summary: "take a namespace, workload or pod out of the mesh, wait",
    register: async (program, exit) => (await import("./unenroll.ts")).registerUnenroll(program, exit),
  },
  {
    name: "bundle",
    summary: "a support archive without keys and tokens",
    register: async (program, exit) => (await import("./bundle.ts")).registerBundle(program, exit),
  },
  {
    name: "uninstall",
    summary: "remove the mesh in the right order",
    register: async (program, exit) => (await import("./uninstall.ts")).registerUninstall(program, exit),
  },
  {
    name: "completion",
    summary: "completion of verbs and flags for bash, zsh and fish",
    register: async (program, exit) => (await import("./completion.ts")).registerCompletion(program, exit, registerAll),
  },
];

/** All verbs with their flags: slow, for those who need the whole tree. */
export async function registerAll(program: Command): Promise<void> {
  for (const verb of verbs) await verb.register(program, () => {});
}

export async function runCli(args: readonly string[]): Promise<number> {
  let exitCode = 0;
  const exit: Exit = (code) => {
    exitCode = code;
  };
  const program = new Command("warren")
    .description("An ambient service mesh for Kubernetes: mutual TLS for every pod from one agent per node.")
    .version(version)
    .exitOverride();
  const wanted = verbs.find((verb) => verb.name === args[0]);
  if (wanted === undefined) {
    for (const verb of verbs) program.command(verb.name).description(verb.summary);
  } else {
    await wanted.register(program, exit);
    for (const command of program.commands) inheritExitOverride(command);
  }
  try {
    if (args.length === 0) program.help();
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof MeshError) {
      process.stderr.write(`warren: ${error.message} (${error.code})\n`);
      if (error.code.startsWith("MESH_CONFIG")) return 2;
      return error.code.startsWith("MESH_UNREACHABLE") ? 3 : 1;
    }
    throw error;
  }
}

/** Commander copies `exitOverride` only to commands made by `program.command`, not to those added later. */
function inheritExitOverride(command: Command): void {
  command.exitOverride();
  for (const child of command.commands) inheritExitOverride(child);
}
