/**
 * The TypeScript engine: the contract of `../engine.ts` on node:net, node:tls and node:http2, in one thread. It runs where the
 * native engine cannot, is that engine's independent peer in tests, and the baseline of benches.
 *
 * What arrives enters by `intake`, becomes a `flow`, is decided above the contract, and is joined by `carrier` to its far end:
 * a dialled socket, a stream of a tunnel from a `pool`, or a duplex in TypeScript's hands. This file keeps the handles and the
 * ways everything ends.
 *
 * Node returns HTTP/2 window credit for a connection at once and for a stream when its data is read, so a slow reader stops nobody
 * else of its tunnel, and holds up to `streamWindow` here beside `bufferPerFlow`. Single frames are Node's and nghttp2's to police.
 */
import { MeshError } from "../../lib/errors.ts";
import type { Identity } from "../../model/identity.ts";
import type { Reason } from "../../model/reason.ts";
import type { SocketOps } from "../../model/sockets.ts";
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
import { classesOf } from "../flow-class.ts";
import { Backlog } from "./backlog.ts";
import { Carrier } from "./carrier.ts";
import { Conditions } from "./conditions.ts";
import { type EngineContext, newCounters } from "./context.ts";
import { Credential } from "./credential.ts";
import { DescriptorShare } from "./descriptor-share.ts";
import { EventBatch } from "./event-batch.ts";
import type { Flow } from "./flow.ts";
import { countBuffered, FlowTable } from "./flow-table.ts";
import { Groups } from "./groups.ts";
import { Intake } from "./intake.ts";
import { adoptListener } from "./listener.ts";
import { revoked } from "./peer-proof.ts";
import { checkListeners, Pod } from "./pod.ts";
import { RememberedDecisions } from "./remembered.ts";
import type { Tunnel } from "./tunnel.ts";

export interface TypeScriptEngineDeps {
  readonly events: EngineEvents;
  readonly sockets: SocketOps;
}

export function createTypeScriptEngine(deps: TypeScriptEngineDeps, options: EngineOptions): Engine {
  return new TypeScriptEngine(deps, options);
}

class TypeScriptEngine implements Engine {
  readonly kind = "typescript";
  readonly #context: EngineContext;
  readonly #pods = new Map<PodHandle, Pod>();
  readonly #credentials = new Map<CredentialHandle, Credential>();
  readonly #groups: Groups;
  readonly #backlog: Backlog;
  readonly #flows: FlowTable;
  readonly #remembered: RememberedDecisions;
  readonly #carrier: Carrier;
  readonly #intake: Intake;
  readonly #conditions = new Conditions();
  #lastHandle = 0;
  #stopped = false;

  constructor(deps: TypeScriptEngineDeps, options: EngineOptions) {
    let lastTunnel = 0;
    this.#context = {
      options,
      sockets: deps.sockets,
      batch: new EventBatch({ events: deps.events, carryOut: (flow, decision) => this.#carryOut(flow, decision) }),
      counters: newCounters(),
      descriptors: new DescriptorShare({ pods: () => this.#pods.size }, options.limits),
      nextTunnelId: () => {
        lastTunnel += 1;
        return lastTunnel as TunnelId;
      },
    };
    const changed = () => this.#conditions.changed();
    this.#groups = new Groups(this.#context, { nextHandle: () => this.#nextHandle() as GroupHandle, changed });
    this.#backlog = new Backlog(this.#context, { pods: () => this.#pods.size });
    this.#flows = new FlowTable(this.#context, { backlog: this.#backlog, onEnd: changed });
    this.#remembered = new RememberedDecisions({ capacity: options.limits.flows });
    this.#carrier = new Carrier(this.#context, {
      pool: (group) => this.#groups.get(group),
      pod: (pod) => this.#pods.get(pod),
      backlog: (flow) => this.#backlog.watch(flow),
    });
    this.#intake = new Intake(this.#context, {
      flows: this.#flows,
      remembered: this.#remembered,
      carrier: this.#carrier,
      isUsable: (decision) => this.#groups.carries(decision),
      changed,
    });
  }

  addPod(spec: PodSpec): PodHandle {
    this.#mustRun();
    const credential = this.#credential(spec.credential);
    checkListeners(spec);
    const pod = new Pod(this.#nextHandle() as PodHandle, spec, credential);
    for (const listener of spec.listeners) {
      const server = adoptListener(
        listener,
        {
          accepted: (listener, leg) => this.#intake.accepted(pod, listener, leg),
          failed: () => {
            this.#context.counters.acceptPausesTotal += 1;
            this.#context.counters.shedTotal += 1;
          },
        },
        Math.max(1, Math.floor(this.#context.options.limits.bufferPerFlow / 2)),
      );
      pod.servers.add(server);
    }
    this.#pods.set(pod.handle, pod);
    return pod.handle;
  }

  updatePod(handle: PodHandle, change: { addresses?: readonly string[]; credential?: CredentialHandle }): void {
    const pod = this.#pod(handle);
    const credential = change.credential === undefined ? pod.credential : this.#credential(change.credential);
    if (change.addresses !== undefined) pod.setAddresses(change.addresses);
    if (credential === pod.credential) return;
    pod.credential = credential;
    for (const pool of this.#groups.of(pod)) pool.renew();
  }

  async removePod(handle: PodHandle, options: { graceMs: number; reason: Reason }): Promise<void> {
    const pod = this.#pod(handle);
    if (!pod.removed) {
      pod.removed = true;
      this.#closeDoors(pod, options.reason);
      for (const pool of this.#groups.of(pod)) pool.release({ reason: options.reason, detail: "" });
      for (const tunnel of pod.inboundTunnels) tunnel.drain();
    }
    await this.#conditions.until(() => pod.flows.size === 0, options.graceMs);
    await this.#cutPod(pod, options.reason);
  }

  addCredential(identity: Identity): CredentialHandle {
    this.#mustRun();
    const credential = new Credential(this.#nextHandle() as CredentialHandle, identity);
    this.#credentials.set(credential.handle, credential);
    return credential.handle;
  }

  setCredential(handle: CredentialHandle, spec: CredentialSpec): void {
    const credential = this.#credential(handle);
    const { rules } = credential.replace(spec, this.#context.options.tls);
    for (const tunnel of this.#tunnels()) {
      if (tunnel.credential === credential && revoked(tunnel.proof, rules)) tunnel.cut("certificate-revoked", "");
    }
    for (const pool of this.#groups.all()) if (pool.pod.credential === credential) pool.forgetFailure();
  }

  removeCredential(handle: CredentialHandle): void {
    this.#credentials.get(handle)?.remove();
    this.#credentials.delete(handle);
  }

  group(spec: GroupSpec): GroupHandle {
    return this.#groups.open(spec, this.#pod(spec.pod)).handle;
  }

  releaseGroup(group: GroupHandle): void {
    this.#groups.get(group)?.release();
  }

  decide(flow: FlowId, decision: Decision): void {
    this.#context.batch.decide(flow, decision);
  }

  advanceEpoch(epoch: Epoch, pod?: PodHandle): void {
    this.#remembered.advance(epoch, pod);
  }

  flows(filter: FlowFilter, each: (row: FlowRow) => void): void {
    for (const flow of this.#flows.matching(filter)) each(flow.row());
  }

  flowRows(filter: FlowFilter): Iterable<FlowRow> {
    return rowsOf([...this.#flows.matching(filter)]);
  }

  flowClasses({ outbound }: { readonly outbound: boolean }, each: (alike: FlowClass) => void): void {
    const seen = [...this.#flows.values()].filter(({ role }) => outbound || role !== "outbound");
    for (const alike of classesOf(seen.map((flow) => flow.row()))) each(alike);
  }

  closeFlows(flows: readonly FlowId[], reason: Reason): void {
    for (const id of flows) this.#flows.get(id)?.end(reason, "");
  }

  tunnels(each: (info: TunnelInfo & { openedAt: number; flows: number }) => void): void {
    for (const { info, openedAt, flows } of this.#tunnels()) each({ ...info, openedAt, flows: flows.size });
  }

  closeTunnels(tunnels: readonly TunnelId[], reason: Reason): void {
    const chosen = new Set(tunnels);
    for (const tunnel of this.#tunnels()) if (chosen.has(tunnel.id)) tunnel.cut(reason, "");
  }

  stats(): EngineStats {
    let tunnelsOpen = 0;
    for (const _ of this.#tunnels()) tunnelsOpen += 1;
    const { counters, batch } = this.#context;
    let { bytesSentTotal, bytesReceivedTotal } = counters;
    for (const { carriage } of this.#flows.values()) {
      bytesSentTotal += carriage?.bytesSent ?? 0;
      bytesReceivedTotal += carriage?.bytesReceived ?? 0;
    }
    return {
      ...counters,
      flowsOpen: this.#flows.size,
      tunnelsOpen,
      groups: this.#groups.size,
      credentials: this.#credentials.size,
      pods: this.#pods.size,
      rememberedDecisions: this.#remembered.size,
      rememberedHitsTotal: this.#remembered.hits,
      batchesTotal: batch.batches,
      bufferedBytes: countBuffered(this.#flows.values()),
      podBufferedBytesMax: Math.max(0, ...this.podLoads().map(({ bufferedBytes }) => bufferedBytes)),
      // Everything in flight is in buffers outside V8's heap.
      memoryBytes: process.memoryUsage().arrayBuffers,
      bytesSentTotal,
      bytesReceivedTotal,
    };
  }

  podLoads(): readonly PodLoad[] {
    return [...this.#pods.values()].map(({ handle, flows, inboundTunnels, handshakes, outboundTunnels }) => ({
      pod: handle,
      flows: flows.size,
      inboundTunnels: inboundTunnels.size + handshakes.size,
      outboundTunnels,
      bufferedBytes: countBuffered(flows),
    }));
  }

  async drain(deadlineMs: number): Promise<DrainReport> {
    const { counters } = this.#context;
    const openedBefore = counters.flowsTotal - this.#flows.size;
    for (const pod of this.#pods.values()) {
      this.#closeDoors(pod, "draining");
      for (const tunnel of pod.inboundTunnels) tunnel.drain();
    }
    await this.#conditions.until(() => this.#flows.size === 0, deadlineMs);
    const cut = [...this.#flows.values()].map((flow) => flow.row());
    const drained = counters.flowsTotal - openedBefore - cut.length;
    for (const flow of this.#flows.values()) flow.end("agent-stopped", "");
    for (const pool of this.#groups.all()) for (const tunnel of pool.tunnels) tunnel.drain();
    return { drained, cut };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#backlog.stop();
    this.#flows.stop();
    const pods = [...this.#pods.values()];
    for (const pod of pods) {
      pod.removed = true;
      this.#closeDoors(pod, "agent-stopped");
      for (const pool of this.#groups.of(pod)) pool.release({ reason: "agent-stopped", detail: "" });
    }
    await Promise.all(pods.map((pod) => this.#cutPod(pod, "agent-stopped")));
    for (const credential of this.#credentials.values()) credential.remove();
    this.#credentials.clear();
  }

  /** No new connections: listeners closed, half-made tunnels given up. */
  #closeDoors(pod: Pod, reason: Reason): void {
    for (const server of pod.servers) {
      if (!server.listening) continue;
      server.close(() => {
        pod.servers.delete(server);
        this.#conditions.changed();
      });
    }
    for (const opening of pod.handshakes) opening.abandon(reason);
  }

  /** Ends what is left of a pod and waits until its last descriptor is closed. */
  async #cutPod(pod: Pod, reason: Reason): Promise<void> {
    for (const flow of pod.flows) flow.end(reason, "");
    const pools = [...this.#groups.of(pod)];
    for (const tunnel of [...pod.inboundTunnels, ...pools.flatMap((pool) => [...pool.tunnels])]) tunnel.cut(reason, "");
    // Servers count their connections, so this waits for every accepted socket too.
    await this.#conditions.until(
      () => pod.inboundTunnels.size === 0 && pod.servers.size === 0 && pools.every((pool) => pool.tunnels.size === 0),
    );
    if (!this.#pods.delete(pod.handle)) return;
    this.#remembered.forgetPod(pod.handle);
    pod.close();
  }

  #carryOut(id: FlowId, decision: Decision): void {
    const flow = this.#flows.get(id);
    if (flow?.phase !== "waiting") return;
    this.#context.counters.decisionsTotal += 1;
    if (decision.remember !== undefined) this.#remembered.remember(flow.fields, decision, decision.remember);
    this.#carrier.carryOut(flow, decision);
  }

  *#tunnels(): Generator<Tunnel> {
    for (const pod of this.#pods.values()) yield* pod.inboundTunnels;
    for (const pool of this.#groups.all()) yield* pool.tunnels;
  }

  #mustRun(): void {
    if (this.#stopped) throw new MeshError("MESH_ENGINE_STOPPED", "the engine has been stopped");
  }

  #pod(handle: PodHandle): Pod {
    const pod = this.#pods.get(handle);
    if (pod === undefined) throw new MeshError("MESH_UNKNOWN_HANDLE", `no pod has the handle ${handle}`);
    return pod;
  }

  #credential(handle: CredentialHandle): Credential {
    const credential = this.#credentials.get(handle);
    if (credential === undefined) throw new MeshError("MESH_UNKNOWN_HANDLE", `no credential has the handle ${handle}`);
    return credential;
  }

  #nextHandle(): number {
    this.#lastHandle += 1;
    return this.#lastHandle;
  }
}

function* rowsOf(flows: readonly Flow[]): Generator<FlowRow, void, void> {
  for (const flow of flows) yield flow.row();
}
