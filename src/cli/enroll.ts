/** `warren enroll` and `warren unenroll`: set the label, wait until agents have acted on it, and say what came of it. */
import { type Command, InvalidArgumentError } from "commander";
import type { Exit } from "./exit.ts";
import { addMeshOptions, durationOption, type ListFormat, type MeshFlags } from "./output/mesh-flags.ts";
import type { EnrollableObject } from "./query/cluster-objects.ts";
import { addOutputOption } from "./query/output.ts";

export interface EnrollFlags extends MeshFlags {
  readonly wait: number;
  /** Close what was open before, so that it comes back through the mesh. */
  readonly cut?: true;
  /** Replace the pods of a workload, whose template carries the label. */
  readonly restart?: true;
  readonly output: ListFormat;
}

const exits = `
Exit status:
  0  done, and every pod that is meant is as it should be
  1  there is no such object, it can't be in the mesh, or --restart is needed and was not given
  2  the command line is wrong
  3  there is no mesh to ask
  4  the time to wait is over; what is missing is said`;

const targets = `
TARGET is ns/x, pod/x, or deploy/x, sts/x, ds/x; with .NAMESPACE behind the name for another one than -n names.

A namespace's label, and a pod's own, act at once and restart nothing. A workload's has to stand in its pod template, so that pods
that come later are meant too; Kubernetes replaces the pods of a template that changes, so that needs --restart, and is refused with the
reason without. Where the pods are as they should be already (their namespace is enrolled), nothing is labelled and nothing restarts.`;

const enrollHelp = `${targets}

Connections that are open go on as they are, outside the mesh, until they end; --cut ends them, which needs a kernel with
CONFIG_INET_DIAG_DESTROY. What can't be in the mesh (host network, another mesh's sidecar, opted out by its own label) is named with the
reason and left alone.
${exits}

Examples:
  warren enroll ns/production
  warren enroll deploy/api -n production --restart --wait 5m
  warren enroll pod/api-7c9d.production --wait 2m
  warren enroll ns/production --cut`;

const unenrollHelp = `${targets}

In an enrolled namespace a pod or workload is opted out by a label of its own; elsewhere its label is taken away. Its tunnels end;
connections that its agent carries are closed.
${exits}

Examples:
  warren unenroll ns/production
  warren unenroll deploy/api.production --restart
  warren unenroll pod/api-7c9d.production`;

export function registerEnroll(program: Command, exit: Exit): void {
  const command = program
    .command("enroll")
    .description("Brings a namespace, workload or pod into the mesh, waits until it is captured, and verifies it.");
  addTarget(command)
    .option("--cut", "close connections that were open before: their applications connect anew, through the mesh")
    .addHelpText("after", enrollHelp)
    .action(async (target: string, flags: EnrollFlags) => exit(await act("captured", target, flags)));
}

export function registerUnenroll(program: Command, exit: Exit): void {
  const command = program
    .command("unenroll")
    .description("Takes a namespace, workload or pod out of the mesh and waits until its agent has let it go.");
  addTarget(command)
    .addHelpText("after", unenrollHelp)
    .action(async (target: string, flags: EnrollFlags) => exit(await act("released", target, flags)));
}

function addTarget(command: Command): Command {
  return addOutputOption(addMeshOptions(command))
    .argument("<target>", "ns/x, deploy/x.namespace or pod/x.namespace", checkedTarget)
    .option("-n, --namespace <namespace>", "of a workload or pod that names none")
    .option("--restart", "replace the pods of deploy/, sts/ or ds/, whose template has to change")
    .addOption(durationOption("--wait <duration>", "how long it may take", 60_000, "1m"));
}

const kinds: Readonly<Record<string, EnrollableObject["kind"]>> = {
  ns: "Namespace",
  namespace: "Namespace",
  po: "Pod",
  pod: "Pod",
  deploy: "Deployment",
  deployment: "Deployment",
  sts: "StatefulSet",
  statefulset: "StatefulSet",
  ds: "DaemonSet",
  daemonset: "DaemonSet",
};

const targetPattern = /^([a-z]+)\/([a-z0-9]([-a-z0-9.]*[a-z0-9])?)$/;

function checkedTarget(text: string): string {
  const [, kind = ""] = targetPattern.exec(text) ?? [];
  if (kinds[kind] !== undefined) return text;
  if (kind === "job" || kind === "cronjob")
    throw new InvalidArgumentError(
      "A Job's template can't change: enrol its namespace, or label the template when you make it.",
    );
  throw new InvalidArgumentError("Write ns/NAME, deploy/NAME.NAMESPACE (sts/, ds/) or pod/NAME.NAMESPACE.");
}

export function targetOf(text: string, namespace: string): EnrollableObject {
  const [, word = "", name = ""] = targetPattern.exec(text) ?? [];
  const kind = kinds[word] ?? "Pod";
  if (kind === "Namespace") return { kind, namespace: "", name };
  const dot = name.lastIndexOf(".");
  if (dot === -1) return { kind, namespace, name };
  return { kind, namespace: name.slice(dot + 1), name: name.slice(0, dot) };
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
