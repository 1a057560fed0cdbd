/**
 * Pods on their way out of an engine. A pod's listeners close at once, its flows have their time, and what belongs to it (handle,
 * groups, credential) is given back when the last of them has ended. A pod may come back meanwhile, and leave again.
 */
import type { FlowLabel } from "../model/flow-label.ts";
import type { Reason } from "../model/reason.ts";
import type { LocalPod } from "../model/workload.ts";
import type { CredentialSuccession } from "./credential-succession.ts";
import type { CredentialTable } from "./credential-table.ts";
import { type DrivenPod, leaving } from "./driven-pod.ts";
import type { Engine, FlowId, FlowRow, PodHandle } from "./engine.ts";
import type { GroupTable } from "./group-table.ts";

/** "As long as its flows need": the largest delay that a timer takes. */
export const unlimitedGrace = 2 ** 31 - 1;

export interface DeparturesDeps {
  readonly engine: Pick<Engine, "removePod" | "flows" | "closeFlows">;
  /** Those that leave included, until nothing of them is open. */
  readonly pods: Map<PodHandle, DrivenPod>;
  readonly groups: Pick<GroupTable, "releasePod">;
  readonly succession: Pick<CredentialSuccession, "settle">;
  readonly credentials: Pick<CredentialTable, "release">;
  label(row: Pick<FlowRow, "label" | "target">): FlowLabel;
  /** Pods of this node may be joined without a tunnel. */
  joins(): boolean;
  /** Answers flows of the pod whose decision waits for news. */
  refuseHeld(pod: PodHandle, reason: Reason): void;
}

/** How long a pod's flows may go on, milliseconds, and what the others end with. */
export interface Leave {
  readonly graceMs: number;
  readonly reason: Reason;
}

export class Departures {
  readonly #deps: DeparturesDeps;

  constructor(deps: DeparturesDeps) {
    this.#deps = deps;
  }

  /** Resolves when nothing of the pod is open. */
  begin(pod: DrivenPod, leave: Leave): Promise<void> {
    const done = this.#remove(pod, leave);
    pod.leaving = { done, replaced: leave.graceMs === unlimitedGrace };
    return done;
  }

  /** Flows that were accepted for other pods and joined to this one. */
  closeJoined(server: LocalPod, { graceMs, reason }: Leave): void {
    if (!this.#deps.joins()) return;
    const { engine } = this.#deps;
    const close = () => {
      const left: FlowId[] = [];
      engine.flows({ role: "outbound" }, (row) => {
        const { local, destination } = this.#deps.label(row);
        if (local === true && destination?.uid === server.workload) left.push(row.flow);
      });
      engine.closeFlows(left, reason);
    };
    if (graceMs === 0) close();
    else setTimeout(close, Math.min(graceMs, unlimitedGrace)).unref();
  }

  /** Flows of the pod's earlier listeners had leave to finish while the pod was here. */
  closeReplaced(uid: string, reason: Reason): void {
    const { engine, pods } = this.#deps;
    for (const { handle, replaced } of leaving(pods.values(), uid)) {
      if (!replaced) continue;
      const left: FlowId[] = [];
      engine.flows({ pod: handle }, ({ flow }) => left.push(flow));
      engine.closeFlows(left, reason);
    }
  }

  async #remove(pod: DrivenPod, leave: Leave): Promise<void> {
    const { engine, pods, groups, succession, credentials } = this.#deps;
    this.#deps.refuseHeld(pod.handle, leave.reason);
    groups.releasePod(pod.handle);
    const proven = succession.settle(pod.handle, pod.local.identity);
    try {
      await engine.removePod(pod.handle, leave);
    } finally {
      pods.delete(pod.handle);
      credentials.release(proven);
    }
  }
}
