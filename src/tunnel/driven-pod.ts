/** A captured pod as the driver holds it, from its capture to the end of its last flow. */
import type { LocalPod } from "../model/workload.ts";
import type { PodSockets } from "./driver.ts";
import type { PodHandle } from "./engine.ts";

/** The removal of a pod from the engine; `replaced` when new listeners of the same pod took its place. */
export interface Leaving {
  readonly done: Promise<void>;
  readonly replaced: boolean;
}

export interface DrivenPod {
  local: LocalPod;
  readonly sockets: PodSockets;
  readonly handle: PodHandle;
  /** From when its removal began. */
  leaving?: Leaving;
}

/** Removals of this uid that are under way. */
export function leaving(pods: Iterable<DrivenPod>, uid: string): (Leaving & { readonly handle: PodHandle })[] {
  const found: (Leaving & { readonly handle: PodHandle })[] = [];
  for (const pod of pods) {
    if (pod.local.uid === uid && pod.leaving !== undefined) found.push({ ...pod.leaving, handle: pod.handle });
  }
  return found;
}
