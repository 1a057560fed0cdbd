/** A traffic scenario somewhere else than it was written for: other pods, its figures under names of their own. */
import type { Bed } from "../bed.ts";
import type { Recipe } from "../lab/bed.ts";
import { neighbours } from "../lab/manifests.ts";
import type { Scenario, ScenarioMeasure } from "./scenario.ts";

export interface Placement {
  /** Before the names of scenario and measures. */
  readonly prefix: string;
  /** Behind what each measure is. */
  readonly where: string;
  readonly recipe: Recipe;
  readonly sameNode: boolean;
}

/** Both pods on the lab's first node. */
export const sameNode: Placement = {
  prefix: "samenode",
  where: "client and server on one node",
  recipe: { name: "samenode", cast: neighbours },
  sameNode: true,
};

export function placed<B extends Bed>(
  scenario: Scenario<B>,
  { prefix, where, recipe, ...more }: Placement,
): Scenario<B> {
  const rename = (name: string) => `${prefix}_${name}`;
  const renamed = <T>(record: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(record).map(([name, value]) => [rename(name), value]));
  return {
    ...scenario,
    name: `${prefix}-${scenario.name}`,
    quick: false,
    recipe,
    sameNode: more.sameNode,
    measures: scenario.measures.map(
      (measure): ScenarioMeasure => ({
        ...measure,
        name: rename(measure.name),
        what: `${measure.what}; ${where}`,
        ...(measure.addedTo !== undefined && { addedTo: rename(measure.addedTo) }),
      }),
    ),
    measure: async (bed, context) => {
      const { values, histograms = {}, noise } = await scenario.measure(bed, context);
      return { values: renamed(values), histograms: renamed(histograms), noise };
    },
  };
}
