/**
 * Carries re-judging through all open flows, class by class: flows that policy cannot tell apart are asked about once. It works in
 * slices, so that ten thousand of a kind each don't hold up the event loop; a change that comes in between starts over with the newer
 * state. The first slice runs within the change itself, and what it forbids is on its way to the engine before it ends.
 */
import type { MeshChange, MeshView } from "../model/mesh.ts";
import type { LocalPod } from "../model/workload.ts";
import type { Engine, FlowClass, FlowId, FlowRow, PodHandle } from "./engine.ts";
import type { LocalPair, LocalPods } from "./local.ts";
import { copyRow, forbidden, forbiddenLocal, type JudgedFlow, type JudgedLocalFlow } from "./rejudge.ts";
import type { HttpStance, RefuseVerdict } from "./verdict.ts";

/** Longest uninterrupted work, and how long what was found forbidden waits for more of it; milliseconds. */
const slice = 5;
const gather = 1;

export interface RejudgingDeps {
  readonly engine: Pick<Engine, "flowClasses" | "closeFlows">;
  view(): MeshView;
  pod(handle: PodHandle): LocalPod | undefined;
  readonly stance: HttpStance;
  isHandedOver(flow: FlowId): boolean;
  readonly localPods: LocalPods;
  /** Some flows may be joined without a tunnel. */
  mayBeLocal(): boolean;
  /** Who is joined by a flow without a tunnel; undefined for all others. Nothing of the row is kept. */
  localPair(row: FlowRow): LocalPair | undefined;
  /** Called before a flow is closed, so that its record can tell what for. */
  closing(flow: FlowId, verdict: RefuseVerdict): void;
  failed(error: unknown): void;
}

/** `unfit`: nothing is forbidden, but this way of joining the two is closed. */
type Judgement = RefuseVerdict | "unfit" | undefined;

/** The pods about whose traffic policy may say something else than before. */
export type RejudgedPods = (pod: LocalPod) => boolean;

/** A class of flows that waits to be judged. */
interface Waiting {
  readonly judged: JudgedFlow | JudgedLocalFlow;
  readonly flows: readonly FlowId[];
}

export class Rejudging {
  readonly #deps: RejudgingDeps;
  /** Of the changes whose flows are not all judged yet. */
  #concerned: RejudgedPods[] = [];
  #waiting: Waiting[] = [];
  #next: NodeJS.Immediate | undefined;
  #waiters: (() => void)[] = [];
  rejudgedTotal = 0;
  closedTotal = 0;

  constructor(deps: RejudgingDeps) {
    this.#deps = deps;
  }

  /** Judges the open flows that a change of the mesh may have to do with; returns to which pods those are. */
  follow(change: MeshChange): RejudgedPods {
    const { policyScope } = change;
    // Most changes of a large mesh are about pods elsewhere.
    if (policyScope !== "all" && policyScope.size === 0) return () => false;
    const concerned = (pod: LocalPod): boolean => {
      const workload = this.#deps.view().workload(pod.workload);
      return workload === undefined || change.concerns(workload);
    };
    this.begin(concerned);
    return concerned;
  }

  /** Judges the open flows to these pods by the view of now. */
  begin(concerned: RejudgedPods): void {
    this.#concerned = this.#next === undefined ? [concerned] : [...this.#concerned, concerned];
    this.#waiting = [];
    const answers = new Map<LocalPod, boolean>();
    const concerns = (pod: LocalPod): boolean => {
      const known = answers.get(pod) ?? this.#concerned.some((each) => each(pod));
      answers.set(pod, known);
      return known;
    };
    const outbound = this.#deps.mayBeLocal();
    this.#deps.engine.flowClasses({ outbound }, (alike) => this.#queue(alike, concerns));
    this.#run();
  }

  /** Resolves when no flow waits to be judged. */
  settled(): Promise<void> {
    if (this.#next === undefined) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  stop(): void {
    this.#waiting = [];
    this.#finish();
  }

  #queue({ row, flows }: FlowClass, concerns: (pod: LocalPod) => boolean): void {
    const accepted = this.#deps.pod(row.pod);
    if (accepted === undefined) return;
    const pair = row.role === "outbound" ? this.#deps.localPair(row) : undefined;
    if (!concerns(accepted) && (pair === undefined || !concerns(pair.server))) return;
    const judged = pair === undefined ? copyRow(row) : ({ pod: row.pod, role: "local", pair } as const);
    if (judged !== undefined) this.#waiting.push({ judged, flows });
  }

  #run(): void {
    const began = performance.now();
    let gathered = began;
    let cut: FlowId[] = [];
    let now = began;
    for (let next = this.#waiting.pop(); next !== undefined; next = this.#waiting.pop()) {
      for (const flow of this.#forbiddenOf(next)) cut.push(flow);
      now = performance.now();
      if (now - gathered > gather) {
        this.#cut(cut);
        cut = [];
        gathered = now;
      }
      if (now - began > slice) break;
    }
    this.#cut(cut);
    if (this.#waiting.length === 0) {
      this.#finish();
      return;
    }
    clearImmediate(this.#next);
    this.#next = setImmediate(() => this.#run());
  }

  #cut(flows: readonly FlowId[]): void {
    if (flows.length === 0) return;
    this.closedTotal += flows.length;
    this.#deps.engine.closeFlows(flows, "policy-changed");
  }

  #forbiddenOf({ judged, flows }: Waiting): readonly FlowId[] {
    const pod = this.#deps.pod(judged.pod);
    if (pod === undefined) return [];
    this.rejudgedTotal += flows.length;
    try {
      const { stance, localPods } = this.#deps;
      const view = this.#deps.view();
      if (judged.role === "local") return this.#told(flows, forbiddenLocal(view, localPods, judged.pair));
      const unread = this.#told(
        flows.filter((flow) => !this.#deps.isHandedOver(flow)),
        forbidden(view, pod, judged, { stance, handedOver: false }),
      );
      const read = flows.filter((flow) => this.#deps.isHandedOver(flow));
      if (read.length === 0) return unread;
      return [...unread, ...this.#told(read, forbidden(view, pod, judged, { stance, handedOver: true }))];
    } catch (thrown) {
      // What can't be judged must not go on.
      this.#deps.failed(thrown);
      return flows;
    }
  }

  /** The flows, if that is the judgement on them, and then their records will tell it. */
  #told(flows: readonly FlowId[], judgement: Judgement): readonly FlowId[] {
    if (judgement === undefined) return [];
    if (judgement !== "unfit") for (const flow of flows) this.#deps.closing(flow, judgement);
    return flows;
  }

  #finish(): void {
    clearImmediate(this.#next);
    this.#next = undefined;
    this.#concerned = [];
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}
