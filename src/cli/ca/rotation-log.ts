/** What happens during a rotation of the root, one line a step: the difference between two statuses. Pure. */
import type { Status } from "../../xds/gen/warren/authority/v1/authority_pb.ts";
import { type RotationLine, rotationLine, short } from "./status-rows.ts";

export const rotationSchema = "warren.ca-rotation/v1";

export interface RotationStep {
  readonly step: "trust" | "issue" | "waiting" | "retired";
  readonly message: string;
  readonly rotation: RotationLine | undefined;
}

/** `seen` is what was said last; undefined at the start. Nothing when nothing is new. */
export function rotationSteps(seen: Status | undefined, now: Status): RotationStep[] {
  const before = seen?.rotation && rotationLine(seen.rotation);
  const rotation = now.rotation && rotationLine(now.rotation);
  if (rotation === undefined) {
    if (before === undefined) return [];
    const message = `the old root ${short(before.oldRoot)} is retired; ${short(before.newRoot)} is the mesh's root`;
    return [{ step: "retired", message, rotation }];
  }
  const steps: RotationStep[] = [];
  if (before?.phase !== rotation.phase || before.newRoot !== rotation.newRoot) {
    const message =
      rotation.phase === "trust"
        ? `agents learn the new root ${short(rotation.newRoot)}; ${short(rotation.oldRoot)} issues`
        : `${short(rotation.newRoot)} issues; ${short(rotation.oldRoot)} is trusted until no certificate comes from it`;
    steps.push({ step: rotation.phase, message, rotation });
  }
  const waiting = waitingText(rotation);
  if (waiting !== "" && (before === undefined || waiting !== waitingText(before))) {
    steps.push({ step: "waiting", message: waiting, rotation });
  }
  return steps;
}

function waitingText({ waiting, confirmed, notBefore }: RotationLine): string {
  if (waiting.length === 0) return `every agent has confirmed; the next step comes at ${notBefore} at the earliest`;
  const named = waiting.map(({ node, reason }) => `${node} (${reason})`);
  return `${confirmed.length} nodes have confirmed, waiting for ${named.join(", ")}`;
}
