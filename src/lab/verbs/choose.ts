/** Which lab a command is about. */
import { MeshError } from "../../lib/errors.ts";
import { LabClient } from "../client.ts";
import { defaultStateRoot, type FoundLab, findLabs } from "../machine/state-folder.ts";

/** For tests, and for people without a writable /run. */
export function stateRoot(): string {
  return process.env["WARREN_LAB_STATE"] ?? defaultStateRoot;
}

/** The lab of that name, or the one there is; labs that were left running come before those of a test or demo under way. */
export function chooseLab(labs: readonly FoundLab[], name: string | undefined): FoundLab {
  if (name !== undefined) {
    const named = labs.find((lab) => lab.id === name);
    if (named !== undefined) return named;
    throw new MeshError("MESH_LAB_NOT_FOUND", `there is no lab named ${name}; labs here: ${namesOf(labs)}`);
  }
  const alive = labs.filter((lab) => lab.alive);
  const left = alive.filter((lab) => lab.owner.kind === "supervisor");
  const [only, another] = left.length > 0 ? left : alive;
  if (only === undefined) throw new MeshError("MESH_LAB_NOT_FOUND", "no lab is up here; make one: warren lab up");
  if (another !== undefined)
    throw new MeshError("MESH_LAB_AMBIGUOUS", `several labs are up: ${namesOf(alive)}; say which with --name`);
  return only;
}

export function clientOf(name: string | undefined): LabClient {
  return new LabClient(chooseLab(findLabs(stateRoot()), name));
}

function namesOf(labs: readonly FoundLab[]): string {
  return labs.map((lab) => lab.id).join(", ") || "none";
}

/** A reference to a pod, with the namespace that an option gave. */
export function inNamespace(reference: string, namespace: string | undefined): string {
  return namespace === undefined ? reference : `${namespace}/${reference}`;
}
