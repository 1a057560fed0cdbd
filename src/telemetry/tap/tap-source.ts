/**
 * Live traffic for whoever watches. While nobody does, an ending flow costs one comparison. The engine tells of a flow only at its end
 * once its decision is remembered, so beginnings are found by looking through the open flows now and then while somebody watches; a flow
 * that came and went between two looks is told as opened when it ends. Each tap has its own rate limit and a bounded queue: what exceeds
 * either is counted, and traffic never waits for a reader.
 */
import { Slices } from "../../lib/slices.ts";
import type { FlowLabel } from "../../model/flow-label.ts";
import type { LocalPod, Workload } from "../../model/workload.ts";
import { type FlowRecord, securityOf } from "../flow-record.ts";
import type { ObservedFlow } from "../observed/observed-traffic.ts";
import type { RequestRecord } from "../request-record.ts";
import { endedEvent, endsOf, requestEvent, type TapEvent } from "./tap-event.ts";
import { type TapFilter, tapWants } from "./tap-filter.ts";

export interface TapRequest {
  readonly filter: TapFilter;
  /** Events a second; 0 for the source's own limit, which also bounds what is asked for. */
  readonly maxRate: number;
  /** The tap ends after this many; 0 for never. */
  readonly maxEvents: number;
}

export interface TapBatch {
  readonly events: readonly TapEvent[];
  /** Since the last batch. */
  readonly dropped: number;
}

export interface Tap {
  /** Called when a batch can be taken, once until it was. */
  onReady(listener: () => void): void;
  take(): TapBatch;
  /** True when `maxEvents` are taken or waiting; nothing comes after them. */
  readonly ended: boolean;
  close(): void;
}

export interface TapSourceDeps {
  /** Unix time in milliseconds. */
  readonly now: () => number;
  readonly openFlows: () => Iterable<ObservedFlow>;
  readonly workloadByAddress: (address: string) => Workload | undefined;
}

export interface TapSourceOptions {
  readonly maxRate: number;
  /** Events that wait for a reader, per tap. */
  readonly queue: number;
  readonly taps: number;
  /** How often open flows are looked through while somebody watches, milliseconds; less often when that takes long. */
  readonly lookEvery: number;
}

export class TapSource {
  readonly #deps: TapSourceDeps;
  readonly #options: TapSourceOptions;
  readonly #taps = new Set<OpenTap>();
  /** Open flows that have been told of. */
  #told = new Set<number>();
  #looking: NodeJS.Timeout | undefined;
  /** Of the look that is under way: its number, and the flows that have ended since it began. */
  #look = 0;
  #endedMeanwhile: Set<number> | undefined;

  constructor(deps: TapSourceDeps, options: TapSourceOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get watched(): boolean {
    return this.#taps.size > 0;
  }

  /** Undefined when there are as many taps as there may be. */
  open(request: TapRequest): Tap | undefined {
    if (this.#taps.size >= this.#options.taps) return undefined;
    const { maxRate, queue } = this.#options;
    const tap: OpenTap = new OpenTap(request, {
      startedAt: this.#deps.now(),
      rate: request.maxRate === 0 ? maxRate : Math.min(request.maxRate, maxRate),
      queue,
      closed: () => this.#close(tap),
    });
    this.#taps.add(tap);
    if (this.#looking === undefined) this.#lookLater(0);
    return tap;
  }

  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void {
    if (this.#taps.size === 0) return;
    this.#endedMeanwhile?.add(record.flow);
    const at = this.#deps.now();
    const ends = endsOf(record, label, pod);
    const ended = endedEvent(record, ends, at);
    if (ended.happened.kind === "ended" && !this.#told.has(record.flow)) {
      this.#tell({ ...ends, at: record.arrivedAt, reason: "", happened: { kind: "opened" } });
    }
    this.#tell(ended, record.arrivedAt);
  }

  requestEnded(record: RequestRecord, pod: LocalPod | undefined): void {
    if (this.#taps.size === 0) return;
    const workload = (address: string) => this.#deps.workloadByAddress(address);
    const source = workload(record.flow.source.address);
    const known = record.flow.peer === "" || source?.identity === record.flow.peer ? source : undefined;
    const destination = workload(record.flow.destination.address);
    this.#tell(requestEvent(record, pod, { source: known, destination }, this.#deps.now()));
  }

  stop(): void {
    for (const tap of this.#taps) tap.close();
    this.#lookNoMore();
  }

  /** A flow from before the tap began is not told as opened; its end is. */
  #tell(event: TapEvent, arrivedAt = event.at): void {
    for (const tap of this.#taps) tap.offer(event, arrivedAt);
  }

  #close(tap: OpenTap): void {
    this.#taps.delete(tap);
    if (this.#taps.size === 0) this.#lookNoMore();
  }

  #lookNoMore(): void {
    clearTimeout(this.#looking);
    this.#looking = undefined;
    this.#look++;
    this.#endedMeanwhile = undefined;
    this.#told = new Set();
  }

  #lookLater(inMs: number): void {
    const look = ++this.#look;
    this.#looking = setTimeout(() => {
      const before = process.threadCpuUsage();
      void this.#lookThrough(look).then(() => {
        // At most a twentieth of the thread's time, however many flows are open. A machine that stood still meanwhile spent none of it.
        const { user, system } = process.threadCpuUsage(before);
        if (look === this.#look) this.#lookLater(Math.max(this.#options.lookEvery, (20 * (user + system)) / 1000));
      });
    }, inMs);
    this.#looking.unref();
  }

  /** In slices, because many flows may be open; one that ends between two of them has been told of by its end. */
  async #lookThrough(look: number): Promise<void> {
    const slices = new Slices();
    const ended = new Set<number>();
    this.#endedMeanwhile = ended;
    const open = new Set<number>();
    for (const flow of this.#deps.openFlows()) {
      if (slices.due) {
        await slices.rest();
        if (look !== this.#look) return;
      }
      if (flow.target === undefined || ended.has(flow.flow)) continue;
      // On its way to a tunnel: the next look, or its end, knows whether that came up.
      if (securityOf(flow, flow.judged) === "unknown") continue;
      open.add(flow.flow);
      if (this.#told.has(flow.flow)) continue;
      this.#told.add(flow.flow);
      const ends = endsOf(flow, flow.judged, flow.localPod);
      this.#tell({ ...ends, at: flow.arrivedAt, reason: "", happened: { kind: "opened" } });
    }
    for (const flow of ended) open.delete(flow);
    this.#told = open;
    this.#endedMeanwhile = undefined;
  }
}

interface OpenTapOptions {
  readonly startedAt: number;
  readonly rate: number;
  readonly queue: number;
  readonly closed: () => void;
}

class OpenTap implements Tap {
  readonly #request: TapRequest;
  readonly #options: OpenTapOptions;
  #events: TapEvent[] = [];
  #dropped = 0;
  #offered = 0;
  #tokens: number;
  #refilledAt = performance.now();
  #ready: (() => void) | undefined;
  #told = false;
  #closed = false;

  constructor(request: TapRequest, options: OpenTapOptions) {
    this.#request = request;
    this.#options = options;
    this.#tokens = options.rate;
  }

  get ended(): boolean {
    const { maxEvents } = this.#request;
    return this.#closed || (maxEvents > 0 && this.#offered >= maxEvents);
  }

  onReady(listener: () => void): void {
    this.#ready = listener;
    // Whoever listened before was told; this one was not.
    this.#told = false;
    if (this.#events.length + this.#dropped > 0) this.#tellReady();
  }

  take(): TapBatch {
    const batch = { events: this.#events, dropped: this.#dropped };
    this.#events = [];
    this.#dropped = 0;
    this.#told = false;
    return batch;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events = [];
    this.#options.closed();
  }

  offer(event: TapEvent, arrivedAt: number): void {
    if (this.ended) return;
    if (event.happened.kind === "opened" && arrivedAt < this.#options.startedAt) return;
    if (!tapWants(this.#request.filter, event)) return;
    if (this.#events.length >= this.#options.queue || !this.#mayTell()) {
      this.#dropped++;
    } else {
      this.#events.push(event);
      this.#offered++;
    }
    this.#tellReady();
  }

  /** A second's worth of events may come at once. */
  #mayTell(): boolean {
    const now = performance.now();
    const { rate } = this.#options;
    this.#tokens = Math.min(rate, this.#tokens + ((now - this.#refilledAt) * rate) / 1000);
    this.#refilledAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  #tellReady(): void {
    if (this.#told || this.#ready === undefined) return;
    this.#told = true;
    this.#ready();
  }
}
