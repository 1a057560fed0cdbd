/** `selector.matchLabels` of policy objects. */
import { z } from "zod";
import type { FieldProblem } from "./translation.ts";

export const selectorSchema = z.strictObject({ matchLabels: z.record(z.string(), z.string()).nullish() }).nullish();

/** Undefined without a selector. Istio's selectors take no wildcards and no empty keys: neither can be a label. */
export function readMatchLabels(
  selector: z.output<typeof selectorSchema>,
  problems: FieldProblem[],
): ReadonlyMap<string, string> | undefined {
  if (selector === undefined || selector === null) return undefined;
  const labels = Object.entries(selector.matchLabels ?? {});
  for (const [key, value] of labels) {
    if (key === "" || key.includes("*") || value.includes("*")) {
      problems.push({
        field: `spec.selector.matchLabels[${key}]`,
        message: "labels match as they are: no wildcards, no empty key",
      });
    }
  }
  return new Map(labels);
}
