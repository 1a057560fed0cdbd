/**
 * Delivers events in batches and carries out decisions between them, as the contract promises: TypeScript above never runs
 * inside a socket callback, and a decision never ends its flow inside the event that announced it.
 */
import type { Decision, EngineEvents, FlowId } from "../engine.ts";

type Delivery = (events: EngineEvents) => void;

const batchEnd: Delivery = (events) => events.batchEnd();

export class EventBatch {
  readonly #events: EngineEvents;
  readonly #carryOut: (flow: FlowId, decision: Decision) => void;
  #deliveries: Delivery[] = [];
  #decisions: [FlowId, Decision][] = [];
  #scheduled = false;
  #batches = 0;

  constructor(deps: { events: EngineEvents; carryOut: (flow: FlowId, decision: Decision) => void }) {
    this.#events = deps.events;
    this.#carryOut = deps.carryOut;
  }

  get batches(): number {
    return this.#batches;
  }

  deliver(delivery: Delivery): void {
    this.#deliveries.push(delivery);
    this.#schedule();
  }

  decide(flow: FlowId, decision: Decision): void {
    this.#decisions.push([flow, decision]);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const deliveries = this.#deliveries;
    if (deliveries.length > 0) {
      this.#deliveries = [];
      this.#batches += 1;
      for (const delivery of [...deliveries, batchEnd]) {
        try {
          delivery(this.#events);
        } catch (error) {
          // One listener's mistake must not cost the others their records; it surfaces as an uncaught exception all the same.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    }
    const decisions = this.#decisions;
    this.#decisions = [];
    for (const [flow, decision] of decisions) this.#carryOut(flow, decision);
  }
}
