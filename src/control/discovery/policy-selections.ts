/**
 * Whom policies selected when they were last looked at, and whom they select now: a changed policy costs the workloads that it concerns.
 */
import { labelsMatch } from "../../lib/labels.ts";
import type { Slices } from "../../lib/slices.ts";
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import type { AuthorizationPolicy } from "../../model/authorization.ts";
import type { WorkloadUid } from "../../model/workload.ts";

type SelectingFields = "matchLabels" | "targetServices" | "scope" | "attached";

/** What a policy says about whom it holds for, of either kind. */
export type Selector = Pick<AuthorizationPolicy, "namespace"> & Partial<Pick<AuthorizationPolicy, SelectingFields>>;

export class PolicySelections {
  readonly #selectors = new Map<string, Selector>();

  has(key: string): boolean {
    return this.#selectors.has(key);
  }

  /** Undefined: the policy selects nobody any more. Returned are both selections: what it says is new to all of them. */
  replace(key: string, now: Selector | undefined): readonly Selector[] {
    const before = this.#selectors.get(key);
    if (now === undefined) this.#selectors.delete(key);
    else this.#selectors.set(key, pick(now));
    return [before, now].filter((selector) => selector !== undefined);
  }

  /** As `replace`, for a policy of which workloads hold the name alone: it means nothing to them while it selects whom it did. */
  move(key: string, now: Selector | undefined): readonly Selector[] {
    const before = this.#selectors.get(key);
    const selectors = this.replace(key, now);
    return before !== undefined && now !== undefined && textOf(before) === textOf(now) ? [] : selectors;
  }
}

/** Adds everybody whom one of these selects. Sooner one too many: Services' own members are the only ones known exactly. */
export async function addSelected(
  selectors: readonly Selector[],
  view: MeshIndex,
  found: Set<WorkloadUid>,
  slices: Slices,
): Promise<void> {
  const { rootNamespace, clusterDomain } = view.settings;
  /** By namespace; empty text for the whole mesh. */
  const byLabels = new Map<string, Selector[]>();
  for (const selector of selectors) {
    const { namespace, scope, targetServices = [] } = selector;
    for (const name of targetServices) {
      const key = { namespace, hostname: `${name}.${namespace}.svc.${clusterDomain}` };
      for (const uid of view.members(key)) found.add(uid);
    }
    if (targetServices.length > 0) continue;
    const where = scope === "mesh" || namespace === rootNamespace ? "" : namespace;
    byLabels.set(where, [...(byLabels.get(where) ?? []), selector]);
  }
  for (const [namespace, wanted] of byLabels) {
    for (const { uid, labels } of namespace === "" ? view.workloads() : view.workloadsIn(namespace)) {
      if (wanted.some(({ matchLabels }) => labelsMatch(matchLabels, labels))) found.add(uid);
      if (slices.due) await slices.rest();
    }
  }
}

/** The policy itself, with all its rules, need not be kept. */
function pick({ namespace, matchLabels, targetServices, scope, attached }: Selector): Selector {
  return {
    namespace,
    matchLabels,
    ...(targetServices === undefined ? {} : { targetServices }),
    ...(scope === undefined ? {} : { scope }),
    ...(attached === undefined ? {} : { attached }),
  };
}

function textOf({ namespace, matchLabels, targetServices, scope, attached }: Selector): string {
  return JSON.stringify([namespace, [...(matchLabels ?? [])], targetServices, scope, attached]);
}
