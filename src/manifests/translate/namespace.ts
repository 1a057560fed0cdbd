/** Namespace: the labels by which a namespace joins the mesh and turns on default deny. */
import { type EnrolmentMode, modeLabel, readMode } from "./enrolment.ts";
import type { KubernetesObject } from "./metadata.ts";
import { type FieldProblem, ok, type Translation } from "./translation.ts";

/** `deny`: workloads of this namespace accept only what an ALLOW policy names. */
export const defaultActionLabel = "warren.dev/default-action";

export interface NamespacePiece {
  readonly name: string;
  readonly mode: EnrolmentMode | undefined;
  readonly defaultAction: "allow" | "deny" | undefined;
}

export function translateNamespace(object: KubernetesObject): Translation<NamespacePiece> {
  const problems: FieldProblem[] = [];
  const { name, labels } = object.metadata;
  const action = labels.get(defaultActionLabel);
  if (action !== undefined && action !== "allow" && action !== "deny") {
    const field = `metadata.labels[${defaultActionLabel}]`;
    problems.push({ field, message: `${JSON.stringify(action)} is neither "allow" nor "deny"; read as "deny"` });
  }
  return ok(
    {
      name,
      mode: readMode(labels.get(modeLabel), problems),
      // Whoever sets the label wants less than the default; a misspelt wish must not open the namespace.
      defaultAction: action === undefined || action === "allow" ? action : "deny",
    },
    problems,
  );
}
