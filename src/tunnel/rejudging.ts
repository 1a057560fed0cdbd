/**
 * Carries re-judging through all open flows in slices, so that ten thousand of them don't hold up the event loop. A change that comes
 * in between starts over with the newer state. The first slice runs within the change itself.
 */
import type { MeshView } from "../model/mesh.ts";
import type { LocalPod, WorkloadUid } from "../model/workload.ts";
import type { Engine, FlowId, FlowRow, PodHandle } from "./engine.ts";
import type { LocalPair, LocalPods } from "./local.ts";
import {
  copyRow,
  forbidden,
  forbiddenLocal,
  type JudgedFlow,
  type JudgedLocalFlow,
  judgementKey,
  localJudgementKey,
} from "./rejudge.ts";
import type { HttpStance, RefuseVerdict } from "./verdict.ts";

/** Longest uninterrupted work, milliseconds. */
const slice = 5;

export interface RejudgingDeps {
  readonly engine: Engine;
  view(): MeshView;
  pod(handle: PodHandle): LocalPod | undefined;
  readonly stance: HttpStance;
  isHandedOver(flow: FlowId): boolean;
  readonly localPods: LocalPods;
  /** Who is joined by a flow without a tunnel; undefined for all others. Nothing of the row is kept. */
  localPair(row: FlowRow): LocalPair | undefined;
  /** Called before a flow is closed, so that its record can tell what for. */
  closing(flow: FlowId, verdict: RefuseVerdict): void;
  failed(error: unknown): void;
}

type Judgement = RefuseVerdict | "unfit" | undefined;

type Scope = ReadonlySet<WorkloadUid> | "all";

export class Rejudging {
  readonly #deps: RejudgingDeps;
  #scope: Scope = new Set();
  #flows: (JudgedFlow | JudgedLocalFlow)[] = [];
  #memo = new Map<string, Judgement>();
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
      if (local === undefined) return;
      const pair = row.role === "outbound" ? this.#deps.localPair(row) : undefined;
      if (!this.#concerns(local) && (pair === undefined || !this.#concerns(pair.server))) return;
      const { flow: id, pod } = row;
      const flow = pair === undefined ? copyRow(row) : ({ flow: id, pod, role: "local", pair } as const);
      if (flow !== undefined) this.#flows.push(flow);
    });
    this.#run();
  }

  #concerns({ workload }: LocalPod): boolean {
    return this.#scope === "all" || this.#scope.has(workload);
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

  #isForbidden(flow: JudgedFlow | JudgedLocalFlow): boolean {
    const pod = this.#deps.pod(flow.pod);
    if (pod === undefined) return false;
    this.rejudgedTotal += 1;
    const handedOver = this.#deps.isHandedOver(flow.flow);
    const key = flow.role === "local" ? localJudgementKey(flow.pair) : judgementKey(flow, handedOver);
    let verdict = this.#memo.get(key);
    if (verdict === undefined && !this.#memo.has(key)) {
      try {
        const { stance, localPods } = this.#deps;
        const view = this.#deps.view();
        verdict =
          flow.role === "local"
            ? forbiddenLocal(view, localPods, flow.pair)
            : forbidden(view, pod, flow, { stance, handedOver });
      } catch (thrown) {
        // What can't be judged must not go on.
        this.#deps.failed(thrown);
        return true;
      }
      this.#memo.set(key, verdict);
    }
    if (verdict !== undefined && verdict !== "unfit") this.#deps.closing(flow.flow, verdict);
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
