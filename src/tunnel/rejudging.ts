/**
 * Carries re-judging through all open flows in slices, so that ten thousand of them don't hold up the event loop. A change that comes
 * in between starts over with the newer state. The first slice runs within the change itself.
 */
import type { MeshView } from "../model/mesh.ts";
import type { LocalPod, WorkloadUid } from "../model/workload.ts";
import type { Engine, FlowId, PodHandle } from "./engine.ts";
import { copyRow, forbidden, type JudgedFlow, judgementKey } from "./rejudge.ts";
import type { HttpStance, RefuseVerdict } from "./verdict.ts";

/** Longest uninterrupted work, milliseconds. */
const slice = 5;

export interface RejudgingDeps {
  readonly engine: Engine;
  view(): MeshView;
  pod(handle: PodHandle): LocalPod | undefined;
  readonly stance: HttpStance;
  isHandedOver(flow: FlowId): boolean;
  /** Called before a flow is closed, so that its record can tell what for. */
  closing(flow: FlowId, verdict: RefuseVerdict): void;
  failed(error: unknown): void;
}

type Scope = ReadonlySet<WorkloadUid> | "all";

export class Rejudging {
  readonly #deps: RejudgingDeps;
  #scope: Scope = new Set();
  #flows: JudgedFlow[] = [];
  #memo = new Map<string, RefuseVerdict | undefined>();
  #next: NodeJS.Immediate | undefined;
  #waiters: (() => void)[] = [];
  rejudgedTotal = 0;
  closedTotal = 0;

  constructor(deps: RejudgingDeps) {
    this.#deps = deps;
  }

  /** Judges the open flows to these workloads by the view of now. */
  begin(scope: Scope): void {
    if (scope !== "all" && scope.size === 0) return;
    this.#scope = unite(this.#next === undefined ? new Set() : this.#scope, scope);
    this.#memo = new Map();
    this.#flows = [];
    this.#deps.engine.flows({}, (row) => {
      const local = this.#deps.pod(row.pod);
      if (local === undefined || (this.#scope !== "all" && !this.#scope.has(local.workload))) return;
      const flow = copyRow(row);
      if (flow !== undefined) this.#flows.push(flow);
    });
    this.#run();
  }

  /** Resolves when no flow waits to be judged. */
  settled(): Promise<void> {
    if (this.#next === undefined) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  stop(): void {
    this.#flows = [];
    this.#finish();
  }

  #run(): void {
    const end = performance.now() + slice;
    const cut: FlowId[] = [];
    let flow = this.#flows.pop();
    while (flow !== undefined) {
      if (this.#isForbidden(flow)) cut.push(flow.flow);
      flow = performance.now() < end ? this.#flows.pop() : undefined;
    }
    if (cut.length > 0) {
      this.closedTotal += cut.length;
      this.#deps.engine.closeFlows(cut, "policy-changed");
    }
    if (this.#flows.length === 0) {
      this.#finish();
      return;
    }
    clearImmediate(this.#next);
    this.#next = setImmediate(() => this.#run());
  }

  #isForbidden(flow: JudgedFlow): boolean {
    const pod = this.#deps.pod(flow.pod);
    if (pod === undefined) return false;
    this.rejudgedTotal += 1;
    const handedOver = this.#deps.isHandedOver(flow.flow);
    const key = judgementKey(flow, handedOver);
    let verdict = this.#memo.get(key);
    if (verdict === undefined && !this.#memo.has(key)) {
      try {
        verdict = forbidden(this.#deps.view(), pod, flow, { stance: this.#deps.stance, handedOver });
      } catch (thrown) {
        // What can't be judged must not go on.
        this.#deps.failed(thrown);
        return true;
      }
      this.#memo.set(key, verdict);
    }
    if (verdict !== undefined) this.#deps.closing(flow.flow, verdict);
    return verdict !== undefined;
  }

  #finish(): void {
    clearImmediate(this.#next);
    this.#next = undefined;
    this.#scope = new Set();
    this.#memo = new Map();
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}

function unite(one: Scope, other: Scope): Scope {
  return one === "all" || other === "all" ? "all" : new Set([...one, ...other]);
}
