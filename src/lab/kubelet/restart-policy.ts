/** When a container that ended is started again. */
import type { Pod } from "../cluster/objects.ts";

export function shouldRestart(policy: Pod["spec"]["restartPolicy"], exitCode: number): boolean {
  return policy === "Always" || (policy === "OnFailure" && exitCode !== 0);
}

/** Kubernetes waits 10 s and doubles up to 5 min; a lab's people wait less. */
const firstWaitMs = 200;
const longestWaitMs = 10_000;
/** After running this long a container is thought healthy again. */
const forgivenAfterMs = 30_000;

/** `failures` counts ends that came too early in a row. */
export function restartDelayMs(failures: number, ranForMs: number): { waitMs: number; failures: number } {
  const count = ranForMs >= forgivenAfterMs ? 0 : failures;
  return { waitMs: Math.min(firstWaitMs * 2 ** count, longestWaitMs), failures: count + 1 };
}
