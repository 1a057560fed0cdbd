/** Label, wait, verify: what `enroll` and `unenroll` do. */
import { MeshError } from "../../lib/errors.ts";
import type { Enrolment, EnrolmentMode } from "../../manifests/translate/enrolment.ts";
import type { Workload } from "../../model/workload.ts";
import { type StepFlags, StepLog } from "../output/step-log.ts";
import { counted } from "../output/words.ts";
import {
  type ClusterObjects,
  clusterObjects,
  type EnrollableObject,
  isWorkload,
  referenceOf,
  type WorkloadObject,
} from "./cluster-objects.ts";
import { type EnrolmentState, isMeant, waitForEnrolment } from "./enrolment-wait.ts";
import type { MeshClient } from "./mesh-client.ts";
import { enrolmentWith } from "./pod-ground.ts";

export interface ChangeFlags extends StepFlags {
  readonly wait: number;
  readonly cut?: true;
  /** A workload's pods may be replaced. */
  readonly restart?: true;
  readonly timeout: number;
}

export type Wanted = "captured" | "released";

export async function changeEnrolment(
  mesh: MeshClient,
  object: EnrollableObject,
  wanted: Wanted,
  flags: ChangeFlags,
  signal: AbortSignal,
): Promise<number> {
  const log = new StepLog(wanted === "captured" ? "warren.enroll/v1" : "warren.unenroll/v1", flags);
  const target = referenceOf(object);
  const objects = await clusterObjects(mesh.ground);
  const plan = await planChange(objects, object, wanted, signal);
  if (plan.refusal !== undefined) throw new MeshError("MESH_ENROLMENT_REFUSED", plan.refusal);
  const before = isWorkload(object) ? [...(await mesh.mesh(signal)).workloads()].filter(isMeant(object)).length : 0;
  if (plan.change !== undefined) {
    if (isWorkload(object) && flags.restart !== true) throw needsRestart(object, wanted);
    await objects.setMode(object, plan.change.mode, signal);
    const where = isWorkload(object) ? `the pod template of ${target}` : target;
    log.tell(
      plan.change.mode === undefined ? `${where}: the label is gone` : `${where} is labelled ${plan.change.mode}`,
    );
  } else log.tell(`${target} needs no label: ${plan.because}`);
  const options = {
    waitMs: flags.wait,
    timeoutMs: flags.timeout,
    whole: object.kind !== "Namespace",
    settled: wanted === "captured" && object.kind === "Namespace" ? labelSeen() : replaced(before),
  };
  const { state, missing } = await waitForEnrolment(mesh, object, wanted, options, signal);
  const pods = state.workloads.map((workload) => podLine(workload, state));
  const done = pods.filter(({ enrolled }) => enrolled === (wanted === "captured"));
  for (const pod of done) log.tell(`${pod.namespace}/${pod.name} is ${wanted}`, { detail: pod.node });
  if (wanted === "captured") await tellLeftOut(objects, pods, log, signal);
  for (const text of missing) log.tell(text, { ok: false });
  for (const note of plan.notes) log.note(note);
  const cut =
    flags.cut === true && wanted === "captured" ? await cutOlder(mesh, done, flags.timeout, log, signal) : undefined;
  if (state.workloads.length === 0)
    log.note(`no pods are there; they will be ${wanted === "captured" ? "captured as they start" : "left alone"}`);
  await log.end(
    { target, ok: missing.length === 0, missing, pods, ...(cut === undefined ? {} : { cut }) },
    pods.map(({ namespace, name }) => `pod/${name}.${namespace}`),
  );
  return missing.length === 0 ? 0 : 4;
}

interface Plan {
  /** Undefined: the object is as it should be already. */
  readonly change: { readonly mode: EnrolmentMode | undefined } | undefined;
  readonly because: string;
  /** Why it can't be. */
  readonly refusal?: string;
  readonly notes: readonly string[];
}

/** A pod is opted out by its own word where its namespace is in the mesh; everything else is by taking the label away. */
export async function planChange(
  objects: ClusterObjects,
  object: EnrollableObject,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<Plan> {
  if (object.kind === "Namespace")
    return { change: { mode: wanted === "captured" ? "ambient" : undefined }, because: "", notes: [] };
  const ground = await objects.podGround(object, signal);
  const now = enrolmentWith(ground, "as it is");
  if (now?.enrolled === (wanted === "captured")) return { change: undefined, because: inWords(now), notes: [] };
  const mode = wanted === "captured" ? "ambient" : ground.namespace?.mode === "ambient" ? "none" : undefined;
  const then = enrolmentWith(ground, { mode });
  const refused = wanted === "captured" && then?.enrolled !== true;
  const refusal = `${referenceOf(object)} can't be in the mesh: ${then === undefined ? "its pods can't be read" : inWords(then)}`;
  const owner = ground.pod.metadata.ownerReferences.find(({ controller }) => controller !== false);
  const notes =
    object.kind === "Pod" && owner !== undefined
      ? [`${owner.kind} ${owner.name} makes pods without this label: whatever takes this one's place is as it was`]
      : [];
  return { change: { mode }, because: "", notes, ...(refused ? { refusal } : {}) };
}

function inWords({ because }: Enrolment): string {
  switch (because) {
    case "pod label":
      return "its own label enrols it";
    case "namespace label":
      return "its namespace is enrolled";
    case "no label":
      return "nothing enrols it";
    case "opted out by pod label":
      return "its own label opts it out";
    case "opted out by namespace label":
      return "its namespace is opted out";
    case "host network":
      return "it is on its node's network, which the mesh leaves alone";
    case "part of warren":
      return "it is part of Warren";
    case "has another mesh's sidecar":
      return "it has another mesh's sidecar";
    case "finished":
      return "it has finished";
    case "not a Linux pod":
      return "it does not run on Linux";
  }
}

function needsRestart(object: WorkloadObject, wanted: Wanted): MeshError {
  const verb = wanted === "captured" ? "enroll" : "unenroll";
  const why = `the label has to stand in the pod template of ${referenceOf(object)}, and a change of that replaces its pods`;
  return new MeshError(
    "MESH_ENROLMENT_RESTARTS",
    `${why}: say --restart, or take a whole namespace, which restarts nothing (warren ${verb} ns/${object.namespace})`,
  );
}

/** Pods of the namespace that its label does not enrol, each with what stands in the way. */
async function tellLeftOut(
  objects: ClusterObjects,
  pods: readonly PodLine[],
  log: StepLog,
  signal: AbortSignal,
): Promise<void> {
  for (const { namespace, name } of pods.filter(({ enrolled }) => !enrolled)) {
    // It may have gone meanwhile, or be nobody's to read: then it is named all the same.
    const ground = await objects.podGround({ kind: "Pod", namespace, name }, signal).catch(() => undefined);
    signal.throwIfAborted();
    const why = ground && enrolmentWith(ground, "as it is");
    log.note(`${namespace}/${name} is not enrolled`, why === undefined ? "see: warren describe" : inWords(why));
  }
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
    log.tell(`${pod}: ${counted(count, "connection")} from before closed`, {
      ok: error === "",
      detail: error,
    });
  if (told.length === 0) log.tell("no connection was open from before");
  return closed;
}

/** Control hears of a label within moments; after that, a namespace without an enrolled pod has none that can be. */
const hearsayMs = 3000;

/** Agents have what they know of: before control has heard of the label, that would be called complete. */
function labelSeen(): (state: EnrolmentState) => boolean {
  const until = Date.now() + hearsayMs;
  return ({ workloads }) =>
    workloads.length === 0 || workloads.some(({ tunnel }) => tunnel === "hbone") || Date.now() > until;
}

/** A rollout may take the old pods away before there are new ones. */
function replaced(before: number): (state: EnrolmentState) => boolean {
  return ({ workloads }) => before === 0 || workloads.length > 0;
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
