/** Un-label, wait, remove: what `uninstall` does, and when it refuses. */
import { setTimeout as delay } from "node:timers/promises";
import { tellPartial } from "../output/listing.ts";
import { type StepFlags, StepLog } from "../output/step-log.ts";
import { counted } from "../output/words.ts";
import { type Outcome, rowsOf } from "./asked.ts";
import { type ClusterObjects, clusterObjects, type LabelledObject, referenceOf } from "./cluster-objects.ts";
import type { MeshClient } from "./mesh-client.ts";

export interface RemoveFlags extends StepFlags {
  readonly yes?: true;
  readonly unlabel: boolean;
  /** Pods whose template carries the label may be replaced. */
  readonly restart?: true;
  readonly wait: number;
  readonly timeout: number;
}

interface Held {
  /** `namespace/name` */
  readonly pods: readonly string[];
  readonly outcome: Outcome;
}

const pollMs = 300;
const schema = "warren.uninstall/v1";

export async function removeMesh(mesh: MeshClient, flags: RemoveFlags, signal: AbortSignal): Promise<number> {
  const objects = await clusterObjects(mesh.ground);
  return removeWith({ objects, held: () => heldPods(mesh, flags.timeout, signal), origin: mesh.origin }, flags, signal);
}

export interface RemovalParts {
  readonly objects: ClusterObjects;
  readonly held: () => Promise<Held>;
  readonly origin: string;
}

export async function removeWith(
  { objects, held, origin }: RemovalParts,
  flags: RemoveFlags,
  signal: AbortSignal,
): Promise<number> {
  const log = new StepLog(schema, flags);
  const end = async (code: number, removed: boolean, pods: readonly string[]) => {
    const names = pods.map((pod) => `pod/${pod.split("/").toReversed().join(".")}`);
    await log.end({ removed, captured: pods }, names);
    return code;
  };
  const labelled = await objects.labelled(signal);
  const templates = flags.unlabel ? await objects.enrolledTemplates(signal) : [];
  const before = await held();
  if (flags.yes !== true) {
    log.tell(`${origin}: ${counted(before.pods.length, "pod is", "pods are")} captured; this would be done:`);
    if (flags.unlabel) for (const object of labelled) log.tell(`take the label from ${referenceOf(object)}`);
    for (const object of templates)
      log.tell(`take the label from the pod template of ${referenceOf(object)}, which replaces its pods`, {
        detail: "with --restart",
      });
    log.tell("wait until no pod is captured, then remove agents and control", { detail: "with --yes" });
    return end(tellPartial(before.outcome), false, before.pods);
  }
  const incomplete = tellPartial(before.outcome);
  if (incomplete !== 0) {
    log.tell("nothing was removed: what silent nodes hold is not known", { ok: false });
    return end(incomplete, false, before.pods);
  }
  if (!flags.unlabel && before.pods.length > 0) {
    for (const pod of before.pods) log.tell(`${pod} is captured`, { ok: false });
    log.tell("nothing was removed: without an agent their connections would be refused", { ok: false });
    return end(1, false, before.pods);
  }
  if (templates.length > 0 && flags.restart !== true) {
    for (const object of templates)
      log.tell(`the pod template of ${referenceOf(object)} carries the label`, { ok: false });
    log.tell("nothing was removed: a change of a template replaces its pods, which --restart allows", { ok: false });
    return end(1, false, before.pods);
  }
  if (flags.unlabel) {
    // Templates first: what they make from now on is not enrolled, and old pods may have gone before their turn comes.
    for (const object of templates) {
      await objects.setMode(object, undefined, signal);
      log.tell(`took the label from the pod template of ${referenceOf(object)}`);
    }
    for (const object of labelled) {
      if (await takenFrom(objects, object, signal)) log.tell(`took the label from ${referenceOf(object)}`);
    }
  }
  const left = await waitUntilFree(held, flags.wait, signal);
  if (left.outcome.failures.length > 0 || left.pods.length > 0) {
    for (const pod of left.pods) log.tell(`${pod} is still captured`, { ok: false });
    for (const { node, message } of left.outcome.failures) log.tell(`${node}: ${message}`, { ok: false });
    log.tell("nothing was removed", { ok: false });
    return end(4, false, left.pods);
  }
  log.tell("no pod is captured any more");
  await objects.removeMesh((step) => log.tell(step), signal);
  return end(0, true, []);
}

/** False for what has gone meanwhile. */
async function takenFrom(objects: ClusterObjects, object: LabelledObject, signal: AbortSignal): Promise<boolean> {
  try {
    await objects.setMode(object, undefined, signal);
    return true;
  } catch (error) {
    const still = await objects.labelled(signal);
    if (still.some((one) => referenceOf(one) === referenceOf(object))) throw error;
    return false;
  }
}

async function waitUntilFree(held: () => Promise<Held>, waitMs: number, signal: AbortSignal): Promise<Held> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const now = await held();
    if ((now.pods.length === 0 && now.outcome.failures.length === 0) || Date.now() >= deadline) return now;
    await delay(pollMs, undefined, { signal });
  }
}

async function heldPods(mesh: MeshClient, timeoutMs: number, signal: AbortSignal): Promise<Held> {
  const asked = mesh.ask({ case: "listPods", value: {} }, { timeoutMs }, signal);
  const pods = await rowsOf(asked, "pods", (page) => page.pods.map(({ namespace, name }) => `${namespace}/${name}`));
  return { pods: pods.sort(), outcome: asked.outcome };
}
