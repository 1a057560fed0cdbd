/** Flows whose decision waits for news, each for a limited time that does not start anew when it is held again. */
import type { FlowId } from "./engine.ts";

export interface HeldFlowsOptions {
  /** Milliseconds. */
  readonly patience: number;
  giveUp(flow: FlowId): void;
}

interface Held<T> {
  readonly value: T;
  readonly timer: NodeJS.Timeout;
}

export class HeldFlows<T> {
  readonly #options: HeldFlowsOptions;
  #flows = new Map<FlowId, Held<T>>();

  constructor(options: HeldFlowsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#flows.size;
  }

  hold(flow: FlowId, value: T): void {
    if (this.#flows.has(flow)) return;
    const timer = setTimeout(() => {
      this.#flows.delete(flow);
      this.#options.giveUp(flow);
    }, this.#options.patience);
    timer.unref();
    this.#flows.set(flow, { value, timer });
  }

  forget(flow: FlowId): void {
    clearTimeout(this.#flows.get(flow)?.timer);
    this.#flows.delete(flow);
  }

  /** Asks about each flow again; those for which `decided` says true are held no longer. */
  review(decided: (flow: FlowId, value: T) => boolean): void {
    for (const [flow, { value }] of this.#flows) if (decided(flow, value)) this.forget(flow);
  }

  clear(): void {
    for (const { timer } of this.#flows.values()) clearTimeout(timer);
    this.#flows = new Map();
  }
}
