/** What the double does wrong when a test asks for it, and to which requests. */

export type Fault =
  /** Answers with this status instead. */
  | { readonly kind: "status"; readonly code: number; readonly reason: string; readonly retryAfter?: number }
  /** Cuts the connection without an answer. */
  | { readonly kind: "reset" }
  /** Takes the request and never answers. */
  | { readonly kind: "stall" }
  /** Answers in small pieces. */
  | { readonly kind: "slow"; readonly bytes: number; readonly delayMs: number }
  | WatchFault;

/** Of a watch, after this many events. */
export type WatchFault =
  | { readonly kind: "watch-reset"; readonly after: number }
  | { readonly kind: "watch-close"; readonly after: number }
  /** Sends nothing any more, and does not close either. */
  | { readonly kind: "watch-stall"; readonly after: number }
  /** Half of the next event, then the end. */
  | { readonly kind: "watch-half-line"; readonly after: number }
  | { readonly kind: "watch-error"; readonly after: number; readonly code: number; readonly reason: string }
  /** A line that is no JSON at all. */
  | { readonly kind: "watch-garbage"; readonly after: number }
  /** Each event twice. */
  | { readonly kind: "watch-duplicate" }
  /** Events come in pieces of so many bytes, one in a turn of the event loop: lines, and letters, are cut anywhere. */
  | { readonly kind: "watch-slow"; readonly bytes: number };

export interface FaultTarget {
  /** `list`, `watch`, `get`, `create`, `update`, `patch`, `delete`. */
  readonly verb: string;
  readonly plural: string;
  /** How many requests; default one. */
  readonly times?: number;
}

export function isWatchFault(fault: Fault | undefined): fault is WatchFault {
  return fault?.kind.startsWith("watch-") === true;
}

export class FaultPlan {
  #planned: { readonly target: FaultTarget; readonly fault: Fault; left: number }[] = [];

  add(target: FaultTarget, fault: Fault): void {
    this.#planned.push({ target, fault, left: target.times ?? 1 });
  }

  clear(): void {
    this.#planned = [];
  }

  /** The fault that this request meets, which is then used up by one. */
  take(verb: string, plural: string): Fault | undefined {
    const planned = this.#planned.find(
      ({ target, left }) => left > 0 && target.verb === verb && target.plural === plural,
    );
    if (planned === undefined) return undefined;
    planned.left -= 1;
    return planned.fault;
  }
}
