/** What the parts of one engine share: its options, its doors to the outside, and its counters. */
import type { SocketOps } from "../../model/sockets.ts";
import type { EngineOptions, TunnelId } from "../engine.ts";
import type { DescriptorShare } from "./descriptor-share.ts";
import type { EventBatch } from "./event-batch.ts";

/** Counters since start, by the names of `EngineStats`. */
export interface Counters {
  flowsTotal: number;
  tunnelsTotal: number;
  handshakesTotal: number;
  handshakesFailedTotal: number;
  decisionsTotal: number;
  bytesSentTotal: number;
  bytesReceivedTotal: number;
  retriesTotal: number;
  shedTotal: number;
  acceptPausesTotal: number;
}

export interface EngineContext {
  readonly options: EngineOptions;
  readonly sockets: SocketOps;
  readonly batch: EventBatch;
  readonly counters: Counters;
  readonly descriptors: DescriptorShare;
  nextTunnelId(): TunnelId;
}

export function newCounters(): Counters {
  return {
    flowsTotal: 0,
    tunnelsTotal: 0,
    handshakesTotal: 0,
    handshakesFailedTotal: 0,
    decisionsTotal: 0,
    bytesSentTotal: 0,
    bytesReceivedTotal: 0,
    retriesTotal: 0,
    shedTotal: 0,
    acceptPausesTotal: 0,
  };
}
