/** `warren lab …`: a cluster out of network namespaces on this machine. Each action loads what it needs when it runs. */
import type { Command } from "commander";
import { MeshError } from "../lib/errors.ts";
import type { Exit } from "./exit.ts";
import type { ListFormat } from "./output/mesh-flags.ts";
import { addOutputOption, printAnswer } from "./query/output.ts";

interface UpOptions {
  readonly nodes: string;
  readonly name?: string;
  readonly file?: string[];
  readonly engine?: string;
  readonly backend?: string;
  readonly localTraffic?: string;
  readonly mesh: boolean;
  readonly timeout: string;
  readonly foreground?: true;
}

interface NameOption {
  readonly name?: string;
}

/** What all of `warren lab` ends with, but for `exec`. */
function labHelp(...examples: readonly string[]): string {
  return `
Exit status:
  0  done
  1  it failed, or there is no such lab, pod or object, and says which
  2  the command line is wrong

Examples:
${examples.map((example) => `  ${example}`).join("\n")}`;
}

export function registerLab(program: Command, exit: Exit): void {
  const lab = program
    .command("lab")
    .description("A Kubernetes cluster in miniature on this machine: network namespaces and real programs, no images.");

  lab
    .command("up")
    .description("Builds a lab and leaves it running.")
    .option("--nodes <count>", "how many nodes", "2")
    .option("--name <name>", "a name for the lab, when there are several (default: a random one)")
    .option("-f, --file <path...>", "manifests: files or folders (default: the example shop)")
    .option("--engine <kind>", "typescript or native")
    .option("--backend <kind>", "auto, ebpf or nftables")
    .option("--local-traffic <kind>", "mtls or auto")
    .option("--no-mesh", "a plain cluster, without agents and control plane")
    .option("--timeout <seconds>", "how long everything may take to become ready", "60")
    .option("--foreground", "keep the lab in this process until it is interrupted")
    .addHelpText(
      "after",
      `
Needs root. The host's own network is not touched.
${labHelp("warren lab up", "warren lab up --nodes 3 --name three -f examples/shop.yaml", "warren lab up --engine typescript --backend nftables")}`,
    )
    .action(async (options: UpOptions) => exit(await up(options)));

  lab
    .command("exec")
    .description("Runs a program in a pod, on this terminal: warren lab exec deploy/api -- curl http://database:6379")
    .argument("<pod>", "deploy/x, pod/x or x")
    .argument("<command...>", "after --, so that its flags are its own")
    .option("-n, --namespace <namespace>", "the pod's namespace (default: production)")
    .option("--name <name>", "which lab")
    .addHelpText(
      "after",
      `
Exit status:
  that of the program; 1 when there is no such lab or pod, 2 when the command line is wrong

Examples:
  warren lab exec frontend -- curl -s http://api:8080/orders
  warren lab exec -n outside client -- sh -c 'for n in 1 2 3; do curl -s http://api.production:8080/; done'`,
    )
    .action(async (pod: string, command: string[], options: NameOption & { namespace?: string }) => {
      const [{ execInPod }, { inNamespace }] = [
        await import("../lab/verbs/exec.ts"),
        await import("../lab/verbs/choose.ts"),
      ];
      exit(await execInPod(options.name, inNamespace(pod, options.namespace), command));
    });

  lab
    .command("apply")
    .description("Creates or changes objects, as kubectl apply does.")
    .requiredOption("-f, --file <path...>", "manifests: files or folders; - is standard input")
    .option("--name <name>", "which lab")
    .addHelpText(
      "after",
      labHelp("warren lab apply -f examples/policies/strict.yaml", "sed s/8080/9090/ api.yaml | warren lab apply -f -"),
    )
    .action(async (options: NameOption & { file: string[] }) => {
      const { applyFiles } = await import("../lab/verbs/manifests.ts");
      await applyFiles(options.name, options.file, say);
    });

  lab
    .command("delete")
    .description("Deletes the objects that manifests name.")
    .requiredOption("-f, --file <path...>", "manifests: files or folders; - is standard input")
    .option("--name <name>", "which lab")
    .addHelpText("after", labHelp("warren lab delete -f examples/policies/strict.yaml"))
    .action(async (options: NameOption & { file: string[] }) => {
      const { deleteFiles } = await import("../lab/verbs/manifests.ts");
      await deleteFiles(options.name, options.file, say);
    });

  lab
    .command("label")
    .description(
      "Sets labels: warren lab label Namespace production warren.dev/mode=ambient (a trailing - removes one)",
    )
    .argument("<kind>")
    .argument("<object>")
    .argument("<labels...>")
    .option("-n, --namespace <namespace>", "of the object, where its kind has one (default: production)")
    .option("--name <name>", "which lab")
    .addHelpText(
      "after",
      labHelp(
        "warren lab label Namespace outside warren.dev/mode=ambient",
        "warren lab label Pod client app=web tier-",
      ),
    )
    .action(async (kind: string, object: string, labels: string[], options: NameOption & { namespace?: string }) => {
      const { labelOne } = await import("../lab/verbs/manifests.ts");
      await labelOne({ ...options, kind, object, labels });
    });

  lab
    .command("agent")
    .description("Stops, kills (-9) or starts the agent of a node.")
    .argument("<action>", "stop, kill or start")
    .argument("<node>")
    .option("--name <name>", "which lab")
    .addHelpText("after", labHelp("warren lab agent kill node-2", "warren lab agent start node-2"))
    .action(async (action: string, node: string, options: NameOption) => {
      const { clientOf } = await import("../lab/verbs/choose.ts");
      await clientOf(options.name).agent(node, action);
    });

  addOutputOption(lab.command("status").description("Shows nodes, pods, services and the mesh."))
    .option("--name <name>", "which lab")
    .addHelpText("after", labHelp("warren lab status", "warren lab status -o json | jq '.pods[] | {name, node, ips}'"))
    .action(async (options: NameOption & { output: ListFormat }) => {
      const [{ clientOf }, { renderStatus }] = [
        await import("../lab/verbs/choose.ts"),
        await import("../lab/verbs/status.ts"),
      ];
      const status = await clientOf(options.name).status();
      await printAnswer(
        {
          schema: "warren.lab-status/v1",
          document: status,
          rows: status.pods,
          name: ({ namespace, name }) => `pod/${name}.${namespace}`,
          lines: (_colours, wide) => renderStatus(status, wide),
        },
        options,
      );
    });

  lab
    .command("logs")
    .description("Shows what a pod, an agent (agent/<node>) or the control plane (control) wrote.")
    .argument("<of>", "deploy/x, pod/x, x, agent/<node> or control")
    .option("-n, --namespace <namespace>", "the pod's namespace (default: production)")
    .option("-c, --container <name>", "a container other than the first")
    .option("--follow", "go on as lines come")
    .option("--tail <lines>", "only the last lines")
    .option("--name <name>", "which lab")
    .addHelpText(
      "after",
      labHelp(
        "warren lab logs --follow agent/node-1",
        "warren lab logs deploy/api --tail 20",
        "warren lab logs control",
      ),
    )
    .action(async (of: string, options: LogOptions) => {
      const { showLog } = await import("../lab/verbs/logs.ts");
      exit(await showLog(of, options));
    });

  lab
    .command("down")
    .description("Removes a lab and everything it made.")
    .option("--name <name>", "which lab")
    .option("--all", "every lab that was left running, and what dead ones left behind")
    .addHelpText("after", labHelp("warren lab down", "warren lab down --all"))
    .action(async (options: NameOption & { all?: true }) => {
      const { downAll, downNamed } = await import("../lab/verbs/down.ts");
      await (options.all === true ? downAll(say) : downNamed(options.name, say));
    });
}

export interface LogOptions extends NameOption {
  readonly namespace?: string;
  readonly container?: string;
  readonly follow?: true;
  readonly tail?: string;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function up(options: UpOptions): Promise<number> {
  const [{ upDetached, upForeground }, { stateRoot }, { examplePath }, { whatToTry }] = [
    await import("../lab/verbs/up.ts"),
    await import("../lab/verbs/choose.ts"),
    await import("../lab/examples.ts"),
    await import("../lab/verbs/hints.ts"),
  ];
  const { name, mesh, file = [examplePath("shop.yaml")] } = options;
  const engine = oneOf("--engine", options.engine, ["typescript", "native"] as const);
  const backend = oneOf("--backend", options.backend, ["auto", "ebpf", "nftables"] as const);
  const localTraffic = oneOf("--local-traffic", options.localTraffic, ["mtls", "auto"] as const);
  const nodes = wholeNumber("--nodes", options.nodes);
  const timeout = wholeNumber("--timeout", options.timeout);
  const startedAt = performance.now();
  const timed = (line: string) => say(`${((performance.now() - startedAt) / 1000).toFixed(2).padStart(6)} s  ${line}`);
  if (options.foreground === true) {
    await upForeground({
      options: {
        nodes,
        files: file,
        mesh,
        stateRoot: stateRoot(),
        ...(name !== undefined && { id: name }),
        ...(engine !== undefined && { engine }),
        ...(backend !== undefined && { backend }),
        ...(localTraffic !== undefined && { localTraffic }),
      },
      timeoutMs: timeout * 1000,
      say: timed,
    });
    return 0;
  }
  const args = [
    "--nodes",
    String(nodes),
    "--timeout",
    String(timeout),
    "--file",
    ...file,
    ...(mesh ? [] : ["--no-mesh"]),
    ...flag("--name", name),
    ...flag("--engine", engine),
    ...flag("--backend", backend),
    ...flag("--local-traffic", localTraffic),
  ];
  const id = await upDetached(args, timed);
  say(whatToTry(id, { mesh, example: options.file === undefined }));
  return 0;
}

function flag(name: string, value: string | undefined): string[] {
  return value === undefined ? [] : [name, value];
}

function oneOf<T extends string>(what: string, value: string | undefined, known: readonly T[]): T | undefined {
  const found = known.find((candidate) => candidate === value);
  if (value !== undefined && found === undefined)
    throw new MeshError("MESH_CONFIG_INVALID", `${what} is ${known.join(" or ")}, not ${value}`);
  return found;
}

function wholeNumber(what: string, text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new MeshError("MESH_CONFIG_INVALID", `${what} ${text} is not a whole number`);
  return Number(text);
}
