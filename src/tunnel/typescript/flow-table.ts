/** All open flows of the engine: who may enter, and who has been silent for too long. */
import type { Reason } from "../../model/reason.ts";
import type { FlowClosed, FlowFilter, FlowId } from "../engine.ts";
import type { Backlog } from "./backlog.ts";
import type { EngineContext } from "./context.ts";
import { Flow, type FlowParts } from "./flow.ts";
import type { Pod } from "./pod.ts";

/** How often flows are looked over, between these bounds: often enough for the shortest limit, seldom enough to cost nothing. */
const sweepMs = { shortest: 25, longest: 1000 };

export class FlowTable {
  readonly #context: EngineContext;
  readonly #backlog: Backlog;
  readonly #onEnd: () => void;
  readonly #flows = new Map<FlowId, Flow>();
  readonly #sweeper: NodeJS.Timeout;
  #lastId = 0;

  constructor(context: EngineContext, deps: { backlog: Backlog; onEnd: () => void }) {
    this.#context = context;
    this.#backlog = deps.backlog;
    this.#onEnd = deps.onEnd;
    this.#sweeper = setInterval(() => this.#sweep(), sweepInterval(context.options.timeouts));
    this.#sweeper.unref();
  }

  get size(): number {
    return this.#flows.size;
  }

  get(id: FlowId): Flow | undefined {
    return this.#flows.get(id);
  }

  values(): IterableIterator<Flow> {
    return this.#flows.values();
  }

  *matching(filter: FlowFilter): Generator<Flow> {
    for (const flow of this.#flows.values()) {
      if (filter.pod !== undefined && filter.pod !== flow.pod.handle) continue;
      if (filter.role !== undefined && filter.role !== flow.role) continue;
      if (filter.peer !== undefined && filter.peer !== flow.peer) continue;
      if (filter.tunnel !== undefined && filter.tunnel !== flow.tunnel?.id) continue;
      yield flow;
    }
  }

  /** Why one more flow of the pod is too much, if it is. */
  overload(pod: Pod): Reason | undefined {
    const { limits } = this.#context.options;
    if (this.#flows.size >= limits.flows || pod.flows.size >= limits.flowsPerPod) return "limit-flows";
    return this.#backlog.full(pod) ? "limit-memory" : undefined;
  }

  add(parts: Omit<FlowParts, "id">): Flow {
    this.#lastId += 1;
    const flow = new Flow({ ...parts, id: this.#lastId as FlowId }, (ended, record) => this.#ended(ended, record));
    this.#flows.set(flow.id, flow);
    flow.pod.flows.add(flow);
    // A peer may send before its CONNECT is answered.
    if (flow.role === "inbound-hbone") this.#backlog.watch(flow);
    this.#context.counters.flowsTotal += 1;
    return flow;
  }

  stop(): void {
    clearInterval(this.#sweeper);
  }

  #ended(flow: Flow, record: FlowClosed): void {
    this.#flows.delete(flow.id);
    flow.pod.flows.delete(flow);
    this.#context.counters.bytesSentTotal += record.bytesSent;
    this.#context.counters.bytesReceivedTotal += record.bytesReceived;
    this.#context.batch.deliver((events) => events.flowClosed(record));
    this.#onEnd();
  }

  #sweep(): void {
    const { idle, halfClosed } = this.#context.options.timeouts;
    const now = performance.now();
    for (const flow of this.#flows.values()) {
      const { carriage, activity } = flow;
      if (carriage === undefined) continue;
      const bytes = carriage.bytesSent + carriage.bytesReceived;
      if (bytes !== activity.bytes) {
        activity.bytes = bytes;
        activity.at = now;
        continue;
      }
      const silence = now - activity.at;
      if (halfClosed > 0 && carriage.halfClosed && silence >= halfClosed) flow.end("half-closed-timeout", "");
      else if (idle > 0 && silence >= idle) flow.end("idle-timeout", "");
    }
  }
}

/** Bytes in the flows' buffers, counted now. */
export function countBuffered(flows: Iterable<Flow>): number {
  let buffered = 0;
  for (const flow of flows) buffered += flow.buffered;
  return buffered;
}

function sweepInterval(timeouts: { readonly idle: number; readonly halfClosed: number }): number {
  const limits = [timeouts.idle, timeouts.halfClosed].filter((limit) => limit > 0);
  return Math.max(sweepMs.shortest, Math.min(sweepMs.longest, ...limits.map((limit) => limit / 4)));
}
