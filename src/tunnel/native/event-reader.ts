/** Takes what the workers published and tells it to the engine's owner, in batches. */
import type { Reason } from "../../model/reason.ts";
import { reasonInfo } from "../../model/reason.ts";
import type { EngineEvents, FlowId, PodHandle } from "../engine.ts";
import type { NativeEngine } from "./addon.ts";
import { PlaintextSocket } from "./plaintext-socket.ts";
import { RecordReader } from "./record-reader.ts";
import {
  readConnectArrived,
  readFlowArrived,
  readFlowClosed,
  readTunnelDown,
  readTunnelInfo,
  recordKinds,
} from "./records.ts";

/** Larger than any record: six texts of 64 KiB. */
const bufferSize = 512 * 1024;

export interface EventReaderDeps {
  readonly events: EngineEvents;
  podGone(pod: PodHandle): void;
  /** A flow has ended. */
  flowEnded(): void;
  /** Every event of a batch has been told. */
  batchTold(): void;
}

export class EventReader {
  readonly #deps: EventReaderDeps;
  readonly #buffer = Buffer.allocUnsafeSlow(bufferSize);
  readonly #record = new RecordReader();
  readonly #handedOver = new Map<FlowId, PlaintextSocket>();

  constructor(deps: EventReaderDeps) {
    this.#deps = deps;
  }

  /** Until there are none left. */
  read(native: NativeEngine): void {
    const record = this.#record;
    record.bytes = this.#buffer;
    let told = false;
    try {
      for (let length = native.takeEvents(this.#buffer); length > 0; length = native.takeEvents(this.#buffer)) {
        for (record.at = 0; record.at < length; record.at += record.size()) {
          told = this.#tell(native) || told;
        }
      }
    } finally {
      if (told) this.#deps.events.batchEnd();
      this.#deps.batchTold();
    }
  }

  /** True if the owner heard of it. */
  #tell(native: NativeEngine): boolean {
    const record = this.#record;
    const { events } = this.#deps;
    switch (record.byte(4)) {
      case recordKinds.flowArrived:
        events.flowArrived(readFlowArrived(record));
        return true;
      case recordKinds.connectArrived:
        events.connectArrived(readConnectArrived(record));
        return true;
      case recordKinds.flowClosed:
        this.#closed(native);
        return true;
      case recordKinds.tunnelUp:
        events.tunnelUp(readTunnelInfo(record));
        return true;
      case recordKinds.tunnelDown:
        events.tunnelDown(readTunnelDown(record));
        return true;
      case recordKinds.handedOver:
        this.#takeOver(native, record.double(8) as FlowId, record.integer(16));
        return true;
      case recordKinds.podGone:
        this.#deps.podGone(record.double(8) as PodHandle);
        return false;
      default:
        return false;
    }
  }

  #closed(native: NativeEngine): void {
    const closed = readFlowClosed(this.#record);
    const socket = this.#handedOver.get(closed.flow);
    if (socket !== undefined) {
      this.#handedOver.delete(closed.flow);
      socket.flowEnded(closed.reason);
      native.heard(closed.flow);
    }
    this.#deps.events.flowClosed(closed);
    this.#deps.flowEnded();
  }

  #takeOver(native: NativeEngine, flow: FlowId, fd: number): void {
    const socket = new PlaintextSocket({
      fd,
      onLeave: (reason: Reason, finished: boolean) => native.leaveFlow(flow, reasonInfo(reason).index, finished),
    });
    this.#handedOver.set(flow, socket);
    this.#deps.events.flowHandedOver(flow, socket);
  }
}
