/**
 * The command line: one file per verb in this folder. A verb's file is loaded only when that verb runs, so that `--help` stays as
 * quick as Node itself. Exit codes: 0 fine, 1 findings or failure, 2 usage or configuration, 3 unreachable or partial,
 * 4 wait timed out.
 */
import type { Command } from "commander";
import { MeshError } from "../lib/errors.ts";
import { version } from "../lib/version.ts";
import type { Exit } from "./exit.ts";

interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly register: (program: Command, exit: Exit) => Promise<void>;
}

interface Group {
  readonly title: string;
  readonly verbs: readonly Verb[];
}

const groups: readonly Group[] = [
  {
    title: "What is there",
    verbs: [
      {
        name: "status",
        summary: "every node at a glance: agents, captured pods, certificates, age of configuration",
        register: async (program, exit) => (await import("./status.ts")).registerStatus(program, exit),
      },
      {
        name: "check",
        summary: "what is wrong with the mesh, or would be on this machine or cluster: with hints",
        register: async (program, exit) => (await import("./check.ts")).registerCheck(program, exit),
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
        name: "connections",
        summary: "open connections of the mesh: who, with whom, how secured",
        register: async (program, exit) => (await import("./connections.ts")).registerConnections(program, exit),
      },
      {
        name: "version",
        summary: "versions of this program, control and agents; OpenSSL, FIPS, AES path, kernels",
        register: async (program, exit) => (await import("./version.ts")).registerVersion(program, exit),
      },
    ],
  },
  {
    title: "Is it encrypted",
    verbs: [
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
        name: "proxy-config",
        summary: "what an agent holds for a workload: secret, listeners",
        register: async (program, exit) => (await import("./proxy-config.ts")).registerProxyConfig(program, exit),
      },
    ],
  },
  {
    title: "Why is it refused",
    verbs: [
      {
        name: "why",
        summary: "why a connection is refused, or goes in clear: both agents' views, joined",
        register: async (program, exit) => (await import("./why.ts")).registerWhy(program, exit),
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
    ],
  },
  {
    title: "What is flowing now",
    verbs: [
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
    ],
  },
  {
    title: "Change",
    verbs: [
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
        name: "ca",
        summary: "the mesh's certificate authority: status, rotate, revoke, restore, verify",
        register: async (program, exit) => (await import("./ca.ts")).registerCa(program, exit),
      },
      {
        name: "log",
        summary: "what agents write to their logs, changed while they run",
        register: async (program, exit) => (await import("./log.ts")).registerLog(program, exit),
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
    ],
  },
  {
    title: "Run",
    verbs: [
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
        summary: "the control plane: tells agents what the mesh is, and is its certificate authority",
        register: async (program, exit) => (await import("./control.ts")).registerControl(program, exit),
      },
      {
        name: "completion",
        summary: "completion of verbs and flags for bash, zsh and fish",
        register: async (program, exit) =>
          (await import("./completion.ts")).registerCompletion(program, exit, registerAll),
      },
    ],
  },
];

const verbs: readonly Verb[] = groups.flatMap((group) => group.verbs);

/** All verbs with their flags: slow, for those who need the whole tree. */
export async function registerAll(program: Command): Promise<void> {
  for (const verb of verbs) await verb.register(program, () => {});
}

const about = "An ambient service mesh for Kubernetes: mutual TLS for every pod from one agent per node.";

const examples = [
  ["warren check", "is everything well, and what do I do about it?"],
  ["warren tls-check -n production", "is everything mutual TLS?"],
  ["warren plaintext --rehearse-strict ns/production", "whom would STRICT cut off?"],
  ["warren why deploy/frontend deploy/api:8080", "why was this connection refused?"],
  ["warren tap deploy/api", "what is flowing now?"],
] as const;

/** Written here and not by the flag parser, which takes longer to load than all of this takes to say. */
function helpText(): string {
  const width = Math.max(...verbs.map(({ name }) => name.length)) + 2;
  const lines = groups.flatMap(({ title, verbs: some }) => [
    "",
    `${title}:`,
    ...some.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`),
  ]);
  const options = ["Options:", "  -V, --version  its version", "  -h, --help     this"];
  const column = Math.max(...examples.map(([command]) => command.length)) + 2;
  const shown = examples.map(([command, question]) => `  ${command.padEnd(column)}${question}`);
  const more = "warren VERB --help has every flag of a verb, its exit codes and examples.";
  const head = ["Usage: warren VERB [options]", "", about];
  return [...head, ...lines, "", ...options, "", "Examples:", ...shown, "", more].join("\n");
}

export async function runCli(args: readonly string[]): Promise<number> {
  const [first, second] = args;
  const daemon = first === "node" || first === "control";
  if (!daemon && !process.stdout.listeners("error").includes(leaveToReader)) process.stdout.on("error", leaveToReader);
  if (first === "help" && second !== undefined) return runCli([second, "--help"]);
  if (first === "--help" || first === "-h" || first === "help") {
    process.stdout.write(`${helpText()}\n`);
    return 0;
  }
  if (first === "--version" || first === "-V") {
    process.stdout.write(`${version}\n`);
    return 0;
  }
  if (first === undefined) {
    process.stderr.write(`${helpText()}\n`);
    return 2;
  }
  try {
    if (first === "node") return await (await import("./node.ts")).nodeVerb(args.slice(1));
    return await runVerb(args);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    process.stderr.write(`warren: ${error.message} (${error.code})\n`);
    if (error.code.startsWith("MESH_CONFIG")) return 2;
    return error.code.startsWith("MESH_UNREACHABLE") ? 3 : 1;
  }
}

/** A reader that has seen enough (head, a pager) is no failure. */
function leaveToReader(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

async function runVerb(args: readonly string[]): Promise<number> {
  const { Command, CommanderError } = await import("commander");
  let exitCode = 0;
  const exit: Exit = (code) => {
    exitCode = code;
  };
  const program = new Command("warren").exitOverride().showHelpAfterError("see: warren --help");
  const wanted = verbs.find((verb) => verb.name === args[0]);
  if (wanted === undefined) {
    // So that the parser can say which verb is probably meant.
    for (const verb of verbs) program.command(verb.name).description(verb.summary);
  } else {
    await wanted.register(program, exit);
    for (const command of program.commands) endHere(command, `warren ${command.name()}`);
  }
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
}

/** Commander copies neither to commands that are added later: usage errors end here, and say where usage is written. */
function endHere(command: Command, path: string): void {
  command.exitOverride().showHelpAfterError(`see: ${path} --help`);
  for (const child of command.commands) endHere(child, `${path} ${child.name()}`);
}
