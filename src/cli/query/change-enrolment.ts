/** Label, wait, verify: what `enroll` and `unenroll` do. */
import type { Workload } from "../../model/workload.ts";
import { StepLog } from "../output/step-log.ts";
import { clusterObjects, type LabelledObject } from "./cluster-objects.ts";
import { type EnrolmentState, waitForEnrolment } from "./enrolment-wait.ts";
import type { MeshClient } from "./mesh-client.ts";

export interface ChangeFlags {
  readonly wait: number;
  readonly cut?: true;
  readonly timeout: number;
  readonly output: "text" | "json";
  readonly color: boolean;
}

export async function changeEnrolment(
  mesh: MeshClient,
  object: LabelledObject,
  wanted: "captured" | "released",
  flags: ChangeFlags,
  signal: AbortSignal,
): Promise<number> {
  const log = new StepLog(flags);
  const schema = wanted === "captured" ? "warren.enroll/v1" : "warren.unenroll/v1";
  const target = object.kind === "Namespace" ? `ns/${object.name}` : `pod/${object.name}.${object.namespace}`;
  const objects = await clusterObjects(mesh.ground);
  const mode = await modeFor(mesh, object, wanted, signal);
  await objects.setMode(object, mode, signal);
  log.tell(mode === undefined ? `${target}: the label is gone` : `${target} is labelled ${mode}`);
  const options = {
    waitMs: flags.wait,
    timeoutMs: flags.timeout,
    ...(wanted === "captured" ? { settled: labelSeen() } : {}),
  };
  const { state, missing } = await waitForEnrolment(mesh, object, wanted, options, signal);
  const pods = state.workloads.map((workload) => podLine(workload, state));
  const done = pods.filter(({ enrolled }) => enrolled === (wanted === "captured"));
  for (const pod of done) log.tell(`${pod.namespace}/${pod.name} is ${wanted}`, { detail: pod.node });
  if (wanted === "captured")
    for (const { namespace, name } of pods.filter(({ enrolled }) => !enrolled))
      log.tell(`${namespace}/${name} is not enrolled`, { detail: "see: warren describe" });
  for (const text of missing) log.tell(text, { ok: false });
  const cut =
    flags.cut === true && wanted === "captured" ? await cutOlder(mesh, done, flags.timeout, log, signal) : undefined;
  log.end(schema, { target, ok: missing.length === 0, missing, pods, ...(cut === undefined ? {} : { cut }) });
  if (flags.output === "text" && state.workloads.length === 0)
    process.stderr.write(
      `no pods there yet; they will be ${wanted === "captured" ? "captured as they start" : "left alone"}\n`,
    );
  return missing.length === 0 ? 0 : 4;
}

/** The connections that were open before their pod was captured, closed. */
async function cutOlder(
  mesh: MeshClient,
  pods: readonly PodLine[],
  timeoutMs: number,
  log: StepLog,
  signal: AbortSignal,
): Promise<number> {
  const { cutUncarried } = await import("../traffic/cut-connections.ts");
  const names = new Set(pods.map(({ namespace, name }) => `${namespace}/${name}`));
  const { pods: told, closed } = await cutUncarried(mesh, names, { timeoutMs }, signal);
  for (const { pod, closed: count, error } of told)
    log.tell(`${pod}: ${count} connections from before were closed`, { ok: error === "", detail: error });
  if (told.length === 0) log.tell("no connection was open from before");
  return closed;
}

/** A pod is opted out by its own word where its namespace is in the mesh; everything else is by taking the label away. */
async function modeFor(
  mesh: MeshClient,
  object: LabelledObject,
  wanted: "captured" | "released",
  signal: AbortSignal,
): Promise<"ambient" | "none" | undefined> {
  if (wanted === "captured") return "ambient";
  if (object.kind === "Namespace") return undefined;
  const view = await mesh.mesh(signal);
  const neighbours = [...view.workloads()].some(
    ({ namespace, name, tunnel }) => namespace === object.namespace && name !== object.name && tunnel === "hbone",
  );
  return neighbours ? "none" : undefined;
}

/** Control hears of a label within moments; after that, a namespace without an enrolled pod has none that can be. */
const hearsayMs = 3000;

/** Agents have what they know of: before control has heard of the label, that would be called complete. */
function labelSeen(): (state: EnrolmentState) => boolean {
  const until = Date.now() + hearsayMs;
  return ({ workloads }) =>
    workloads.length === 0 || workloads.some(({ tunnel }) => tunnel === "hbone") || Date.now() > until;
}

interface PodLine {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly enrolled: boolean;
  readonly state: string;
  readonly identity: string;
}

function podLine(workload: Workload, { pods }: EnrolmentState): PodLine {
  const { namespace, name, node, tunnel, identity } = workload;
  const state = pods.get(`${namespace}/${name}`)?.state ?? "";
  return { namespace, name, node, enrolled: tunnel === "hbone", state, identity };
}
