/**
 * The native engine: the contract of `../engine.ts` on C++ workers (`native/engine`). Bytes, tunnels and remembered decisions never
 * touch JavaScript; here are only the handles, the batches of events and decisions, and the ends that somebody waits for.
 */
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { Identity } from "../../model/identity.ts";
import { type Reason, reasonInfo, reasons } from "../../model/reason.ts";
import type {
  CredentialHandle,
  CredentialSpec,
  Decision,
  DrainReport,
  Engine,
  EngineEvents,
  EngineOptions,
  EngineStats,
  Epoch,
  FlowClass,
  FlowFilter,
  FlowId,
  FlowRow,
  GroupHandle,
  GroupSpec,
  PodHandle,
  PodLoad,
  PodSpec,
  TunnelId,
  TunnelInfo,
} from "../engine.ts";
import { type EngineAddon, loadEngineAddon, type NativeEngine } from "./addon.ts";
import { DecisionEncoder } from "./decision-encoder.ts";
import { EventReader } from "./event-reader.ts";
import { RecordReader } from "./record-reader.ts";
import { readFlowRow, readTunnelRow, roles } from "./records.ts";

export interface NativeEngineDeps {
  readonly events: EngineEvents;
  /** Absent: the built one. */
  readonly addon?: EngineAddon;
}

/** Throws EngineUnavailable where the addon cannot run. */
export function createNativeEngine(deps: NativeEngineDeps, options: EngineOptions): Engine {
  return new NativeEngineDriver(deps, options);
}

class NativeEngineDriver implements Engine {
  readonly kind = "native";
  readonly #native: NativeEngine;
  readonly #reader: EventReader;
  readonly #encoder = new DecisionEncoder();
  readonly #removals = new Map<PodHandle, PromiseWithResolvers<void>>();
  readonly #emptied = new Set<() => void>();
  #told = false;
  #flushing = false;
  #stopped = false;

  constructor(deps: NativeEngineDeps, options: EngineOptions) {
    this.#reader = new EventReader({
      events: deps.events,
      podGone: (pod) => this.#podGone(pod),
      flowEnded: () => {
        for (const check of this.#emptied) check();
      },
      batchTold: () => {
        this.#told = false;
        this.#flush();
      },
    });
    const { Engine } = deps.addon ?? loadEngineAddon();
    // Dense: a retired number would leave a hole in the table.
    const table = Array.from(reasons, (reason) => {
      const code = reason ?? "internal";
      const { status } = reasonInfo(code);
      // Reasons that describe an end have no refusing status of their own.
      return { code, status: status === 200 ? 503 : status } as const;
    });
    this.#native = new Engine({ ...options, reasons: table }, () => this.#read());
  }

  addPod(spec: PodSpec): PodHandle {
    return this.#try("MESH_POD_REFUSED", () => this.#native.addPod(spec));
  }

  updatePod(pod: PodHandle, change: { addresses?: readonly string[]; credential?: CredentialHandle }): void {
    this.#try("MESH_UNKNOWN_HANDLE", () =>
      this.#native.updatePod(pod, { addresses: change.addresses, credential: change.credential ?? 0 }),
    );
  }

  async removePod(pod: PodHandle, options: { graceMs: number; reason: Reason }): Promise<void> {
    this.#flush();
    const pending = this.#removals.get(pod);
    try {
      this.#try("MESH_UNKNOWN_HANDLE", () =>
        this.#native.removePod(pod, options.graceMs, reasonInfo(options.reason).index),
      );
    } catch (error) {
      // Asked for again when it has just gone: the record that says so is on its way.
      if (pending === undefined) throw error;
    }
    const removal = pending ?? Promise.withResolvers<void>();
    this.#removals.set(pod, removal);
    return removal.promise;
  }

  addCredential(_identity: Identity): CredentialHandle {
    return this.#try("MESH_ENGINE_STOPPED", () => this.#native.addCredential());
  }

  setCredential(credential: CredentialHandle, spec: CredentialSpec): void {
    this.#try("MESH_CREDENTIAL_INVALID", () => this.#native.setCredential(credential, spec));
  }

  removeCredential(credential: CredentialHandle): void {
    this.#native.removeCredential(credential);
  }

  group(spec: GroupSpec): GroupHandle {
    if (spec.expectedIdentities.length === 0) {
      throw new MeshError(
        "MESH_NO_EXPECTED_IDENTITY",
        "a tunnel group must name the identities that its peer may prove",
      );
    }
    return this.#try("MESH_UNKNOWN_HANDLE", () => this.#native.group(spec));
  }

  releaseGroup(group: GroupHandle): void {
    this.#flush();
    this.#native.releaseGroup(group);
  }

  decide(flow: FlowId, decision: Decision): void {
    this.#encoder.add(flow, decision);
    if (this.#told || this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  advanceEpoch(epoch: Epoch, pod?: PodHandle): void {
    this.#native.advanceEpoch(epoch, pod ?? 0);
  }

  flows(filter: FlowFilter, each: (row: FlowRow) => void): void {
    for (const row of this.flowRows(filter)) each(row);
  }

  flowRows(filter: FlowFilter): Iterable<FlowRow> {
    // What was decided is shown as judged.
    this.#flush();
    const { pod = 0, tunnel = 0, peer = "" } = filter;
    const role = filter.role === undefined ? -1 : roles.indexOf(filter.role);
    return flowRowsOf(this.#native.flows({ pod, tunnel, role, peer }));
  }

  flowClasses({ outbound }: { readonly outbound: boolean }, each: (alike: FlowClass) => void): void {
    // A flow that was just decided is judged by the label that it has now.
    this.#flush();
    const { rows, counts, flows } = this.#native.flowClasses(outbound);
    let index = 0;
    let start = 0;
    eachRecord(rows, (record) => {
      const end = start + (counts[index] ?? 0);
      each({ row: readFlowRow(record), flows: Array.from(flows.subarray(start, end)) as FlowId[] });
      index += 1;
      start = end;
    });
  }

  closeFlows(flows: readonly FlowId[], reason: Reason): void {
    this.#flush();
    this.#native.closeFlows(Float64Array.from(flows), reasonInfo(reason).index);
  }

  tunnels(each: (info: TunnelInfo & { openedAt: number; flows: number }) => void): void {
    eachRecord(this.#native.tunnels(), (record) => each(readTunnelRow(record)));
  }

  closeTunnels(tunnels: readonly TunnelId[], reason: Reason): void {
    this.#native.closeTunnels(Float64Array.from(tunnels), reasonInfo(reason).index);
  }

  stats(): EngineStats {
    return this.#native.stats();
  }

  podLoads(): readonly PodLoad[] {
    return this.#native.podLoads();
  }

  async drain(deadlineMs: number): Promise<DrainReport> {
    this.#flush();
    const before = this.#native.stats();
    this.#native.drain();
    await this.#untilEmpty(deadlineMs);
    const cut: FlowRow[] = [];
    this.flows({}, (row) => cut.push(row));
    this.closeFlows(
      cut.map(({ flow }) => flow),
      "agent-stopped",
    );
    const after = this.#native.stats();
    const drained = before.flowsOpen + after.flowsTotal - before.flowsTotal - cut.length;
    return { drained, cut };
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#native.stop();
    this.#read();
    for (const pod of this.#removals.keys()) this.#podGone(pod);
  }

  #read(): void {
    this.#told = true;
    this.#reader.read(this.#native);
  }

  #flush(): void {
    if (this.#encoder.empty) return;
    const { bytes, length } = this.#encoder.take();
    if (!this.#native.decide(bytes, length)) {
      throw new MeshError("MESH_ENGINE_PROTOCOL", "the native engine could not read a decision; build it again");
    }
  }

  #podGone(pod: PodHandle): void {
    const removal = this.#removals.get(pod);
    this.#removals.delete(pod);
    removal?.resolve();
  }

  /** Resolves when no flow is open or the time has passed. */
  #untilEmpty(deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        this.#emptied.delete(check);
        clearTimeout(timer);
        resolve();
      };
      const check = () => {
        if (this.#native.stats().flowsOpen === 0) finish();
      };
      const timer = setTimeout(finish, deadlineMs);
      this.#emptied.add(check);
      check();
    });
  }

  #try<T>(code: `MESH_${string}`, body: () => T): T {
    if (this.#stopped) throw new MeshError("MESH_ENGINE_STOPPED", "the engine has been stopped");
    try {
      return body();
    } catch (error) {
      throw new MeshError(code, messageOf(error), { cause: error });
    }
  }
}

function eachRecord(bytes: Uint8Array, each: (record: RecordReader) => void): void {
  for (const record of recordsIn(bytes)) each(record);
}

function* flowRowsOf(bytes: Uint8Array): Generator<FlowRow, void, void> {
  for (const record of recordsIn(bytes)) yield readFlowRow(record);
}

/** The same reader each time, one record further. */
function* recordsIn(bytes: Uint8Array): Generator<RecordReader, void, void> {
  const record = new RecordReader();
  record.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (; record.at < bytes.length; record.at += record.size()) yield record;
}
