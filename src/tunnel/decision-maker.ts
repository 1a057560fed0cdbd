/** Turns a verdict into the decision that an engine carries out: names become labels, peers tunnel groups, pods handles. */
import { equivalentIdentities } from "../model/identity.ts";
import type { MeshView } from "../model/mesh.ts";
import { baggageOf } from "./baggage.ts";
import type { DrivenPod } from "./driven-pod.ts";
import type { Decision, Epoch } from "./engine.ts";
import type { GroupTable } from "./group-table.ts";
import type { LabelTable } from "./label-table.ts";
import type { LocalFlows } from "./local-flows.ts";
import type { Verdict } from "./verdict.ts";

export interface DecisionMakerDeps {
  view(): MeshView;
  readonly labels: LabelTable;
  readonly groups: GroupTable;
  readonly local: LocalFlows;
  podByUid(uid: string): DrivenPod | undefined;
}

export class DecisionMaker {
  readonly #deps: DecisionMakerDeps;

  constructor(deps: DecisionMakerDeps) {
    this.#deps = deps;
  }

  /** `epoch` is that of the state which the verdict was found from. */
  decision(pod: DrivenPod, verdict: Exclude<Verdict, { kind: "hold" }>, epoch: Epoch): Decision {
    const { labels, groups, local } = this.#deps;
    const view = this.#deps.view();
    const fields = verdict.dependsOn;
    const base = {
      label: labels.intern(verdict),
      ...(fields === undefined ? {} : { remember: { fields, epoch } }),
    };
    const own = view.workload(pod.local.workload);
    const baggage = own === undefined ? "" : baggageOf(own);
    switch (verdict.kind) {
      case "carry": {
        const now = performance.now();
        const targets = verdict.targets.map(({ peer, expected, authority, weight }) => ({
          group: groups.handle(pod.handle, peer, equivalentIdentities(expected, view.settings), epoch, now),
          authority,
          weight,
        }));
        return { ...base, kind: "carry", targets, baggage, forwardedHost: verdict.service?.hostname ?? "" };
      }
      case "dial": {
        const { targets, purpose, sourceAddress } = verdict;
        const from = verdict.from === undefined ? pod : this.#deps.podByUid(verdict.from);
        if (from === undefined) return { ...base, kind: "refuse", reason: "pod-removed" };
        // Only its label tells a local flow from others that leave the pod: one without could not be judged again.
        if (verdict.local === true && base.label === 0) return { ...base, kind: "refuse", reason: "limit-memory" };
        if (verdict.local === true) local.joinedAny = true;
        const dial = { ...base, kind: "dial", targets, from: from.handle, purpose, baggage } as const;
        return sourceAddress === undefined ? dial : { ...dial, sourceAddress };
      }
      case "hand-over":
        return { ...base, kind: "hand-over", baggage };
      case "refuse":
        return { ...base, kind: "refuse", reason: verdict.reason };
    }
  }
}
