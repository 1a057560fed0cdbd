/** `warren enroll` and `warren unenroll`: set the label, wait until agents have acted on it, and say what came of it. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Exit } from "./exit.ts";
import { addMeshOptions, durationOption, type MeshFlags } from "./output/mesh-flags.ts";
import type { LabelledObject } from "./query/cluster-objects.ts";

export interface EnrollFlags extends MeshFlags {
  readonly wait: number;
  /** Close what was open before, so that it comes back through the mesh. */
  readonly cut?: true;
  readonly output: "text" | "json";
}

const exits = `
Exit status:
  0  done, and every pod that is meant is as it should be
  1  there is no such namespace or pod in the mesh's sight
  2  the command line is wrong
  3  there is no mesh to ask
  4  the time to wait is over; what is missing is said`;

const enrollHelp = `
TARGET is ns/x or pod/x (with .NAMESPACE behind it). No pod restarts, and connections that are open go on as they are, outside the
mesh, until they end; --cut ends them, which needs a kernel with CONFIG_INET_DIAG_DESTROY. A pod that can't be in the mesh (host network, another mesh's
sidecar, opted out by its own label) is named and left alone.
${exits}

Examples:
  warren enroll ns/production
  warren enroll pod/api-7c9d.production --wait 2m
  warren enroll ns/production --cut`;

const unenrollHelp = `
TARGET is ns/x or pod/x (with .NAMESPACE behind it). A pod of an enrolled namespace is opted out by a label of its own. Its tunnels end;
connections that its agent carries are closed.
${exits}

Examples:
  warren unenroll ns/production
  warren unenroll pod/api-7c9d.production`;

export function registerEnroll(program: Command, exit: Exit): void {
  const command = program
    .command("enroll")
    .description("Brings a namespace or pod into the mesh, waits until it is captured, and verifies it.");
  addTarget(command)
    .option("--cut", "close connections that were open before: their applications connect anew, through the mesh")
    .addHelpText("after", enrollHelp)
    .action(async (target: string, flags: EnrollFlags) => exit(await act("captured", target, flags)));
}

export function registerUnenroll(program: Command, exit: Exit): void {
  const command = program
    .command("unenroll")
    .description("Takes a namespace or pod out of the mesh and waits until its agent has let it go.");
  addTarget(command)
    .addHelpText("after", unenrollHelp)
    .action(async (target: string, flags: EnrollFlags) => exit(await act("released", target, flags)));
}

function addTarget(command: Command): Command {
  return addMeshOptions(command)
    .argument("<target>", "ns/x, or pod/x.namespace", checkedTarget)
    .option("-n, --namespace <namespace>", "of a pod")
    .addOption(durationOption("--wait <duration>", "how long agents may take", 60_000, "1m"))
    .addOption(new Option("-o, --output <format>", "how to print").choices(["text", "json"]).default("text"));
}

const targetPattern = /^(ns|namespace|po|pod)\/([a-z0-9]([-a-z0-9.]*[a-z0-9])?)$/;

function checkedTarget(text: string): string {
  if (targetPattern.test(text)) return text;
  throw new InvalidArgumentError("Write ns/NAME or pod/NAME.NAMESPACE.");
}

export function targetOf(text: string, namespace: string): LabelledObject {
  const [, kind = "", name = ""] = targetPattern.exec(text) ?? [];
  if (kind === "ns" || kind === "namespace") return { kind: "Namespace", namespace: "", name };
  const dot = name.lastIndexOf(".");
  if (dot === -1) return { kind: "Pod", namespace, name };
  return { kind: "Pod", namespace: name.slice(dot + 1), name: name.slice(0, dot) };
}

async function act(wanted: "captured" | "released", target: string, flags: EnrollFlags): Promise<number> {
  const [{ withMesh }, { changeEnrolment }] = [
    await import("./output/run-listing.ts"),
    await import("./query/change-enrolment.ts"),
  ];
  return withMesh(flags, (mesh, signal) => {
    const object = targetOf(target, flags.namespace ?? mesh.defaultNamespace);
    return changeEnrolment(mesh, object, wanted, flags, signal);
  });
}
