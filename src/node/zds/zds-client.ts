/**
 * The proxy's end of ZDS, by which Istio's CNI agent drives a node proxy: a SOCK_SEQPACKET connection on which it says of each pod that it is to
 * be served, with its netns as a descriptor, and hears how that went. First comes a snapshot; pods that are not in it are let go when it
 * ends. Where ztunnel ends its process over a breach of protocol, this connection alone ends and is made anew: running pods go on.
 */
import { closeSync } from "node:fs";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Packet, SeqpacketChannel } from "../../capture/addon.ts";
import { type BackoffOptions, backoffDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import {
  Version,
  type WorkloadRequest,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
} from "../../xds/gen/istio/workload/zds_pb.ts";
import type { HandedPods } from "./handed-pods.ts";

export interface ZdsClientDeps {
  /** Throws when nobody listens. */
  readonly connect: (onPacket: (packet: Packet) => void, onEnd: (why: string) => void) => SeqpacketChannel;
  readonly pods: Pick<HandedPods, "add" | "delete" | "has" | "uids">;
  readonly enrolment: {
    reconcile(): void;
    recheck(uid: string): void;
    captured(uid: string, signal: AbortSignal): Promise<void>;
  };
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Record<"debug" | "info" | "warn", (fields: object, message: string) => void>;
}

export interface ZdsClientOptions {
  /** How long an added pod may take before it is answered that it is not served yet. It goes on being tried. */
  readonly answerMs: number;
}

/** As ztunnel: quick at first, because the CNI agent holds up pods meanwhile. */
const reconnect: BackoffOptions = { firstMs: 10, factor: 2, longestMs: 15_000, jitter: 0.2 };
/** No message of the protocol is longer. */
const longestMessage = 1024;

/** What one connection has said so far. */
interface Connection {
  readonly channel: SeqpacketChannel;
  /** Pods of the snapshot; undefined when it is complete. */
  snapshot: Set<string> | undefined;
  closed: boolean;
}

/** The peer does what the protocol forbids: nothing that follows can be trusted. */
class Breach extends Error {}

export class ZdsClient {
  readonly #deps: ZdsClientDeps;
  readonly #options: ZdsClientOptions;
  readonly #stopping = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  #connection: Connection | undefined;
  #work: Promise<void> = Promise.resolve();
  #failures = 0;
  #cancel: () => void = () => {};

  constructor(deps: ZdsClientDeps, options: ZdsClientOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Resolves when the first snapshot is complete. */
  start(): Promise<void> {
    this.#connect();
    return this.#first.promise;
  }

  /** May be called twice. Pods stay served until enrolment ends. */
  async stop(): Promise<void> {
    this.#stopping.abort(new MeshError("MESH_STOPPED", "the agent is stopping"));
    this.#cancel();
    this.#close(this.#connection);
    await this.#work;
  }

  #connect(): void {
    if (this.#stopping.signal.aborted) return;
    const { connect, log } = this.#deps;
    try {
      const channel = connect(
        (packet) => this.#received(connection, packet),
        (why) => this.#ended(connection, why),
      );
      const connection: Connection = { channel, snapshot: new Set(), closed: false };
      this.#connection = connection;
      channel.send(toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version: Version.V1 })));
      log.info({}, "connected to the CNI agent");
    } catch (error) {
      this.#again(messageOf(error));
    }
  }

  #again(why: string): void {
    const { clock, random, log } = this.#deps;
    if (this.#stopping.signal.aborted) return;
    this.#close(this.#connection);
    this.#failures++;
    const retryMs = Math.round(backoffDelay(this.#failures, reconnect, random()));
    log.warn({ attempt: this.#failures, retryMs }, `not connected to the CNI agent: ${why}`);
    this.#cancel();
    this.#cancel = clock.after(retryMs, () => this.#connect());
  }

  #ended(connection: Connection, why: string): void {
    if (connection.closed) return;
    this.#close(connection);
    this.#again(why);
  }

  #close(connection: Connection | undefined): void {
    if (connection === undefined || connection.closed) return;
    connection.closed = true;
    connection.channel.close();
  }

  /** One after the other, also for a peer that does not wait for its answers. */
  #received(connection: Connection, packet: Packet): void {
    this.#work = this.#work
      .then(() => this.#handle(connection, packet))
      .catch((error: unknown) => this.#ended(connection, messageOf(error)));
  }

  async #handle(connection: Connection, packet: Packet): Promise<void> {
    const { log } = this.#deps;
    if (connection.closed) return closeAll(packet.descriptors);
    let failure = "";
    let breach = false;
    try {
      await this.#obey(connection, packet);
      this.#failures = 0;
    } catch (error) {
      failure = messageOf(error);
      breach = error instanceof Breach;
      log.warn({}, `a request of the CNI agent failed: ${failure}`);
    }
    if (connection.closed) return;
    try {
      const payload = { case: "ack" as const, value: { error: failure } };
      connection.channel.send(toBinary(WorkloadResponseSchema, create(WorkloadResponseSchema, { payload })));
    } catch (error) {
      return this.#ended(connection, messageOf(error));
    }
    if (breach) this.#ended(connection, failure);
  }

  async #obey(connection: Connection, { bytes, descriptors }: Packet): Promise<void> {
    let payload: WorkloadRequest["payload"];
    try {
      if (bytes.length > longestMessage) throw new Breach(`a message has ${bytes.length} bytes`);
      payload = decode(bytes);
      const expected = payload.case === "add" ? 1 : 0;
      if (descriptors.length !== expected)
        throw new Breach(`${payload.case ?? "a message"} came with ${descriptors.length} descriptors, not ${expected}`);
    } catch (error) {
      closeAll(descriptors);
      throw error;
    }
    switch (payload.case) {
      case "add": {
        const { uid, workloadInfo } = payload.value;
        const [descriptor = -1] = descriptors;
        if (uid === "" || workloadInfo === undefined) {
          closeAll(descriptors);
          throw new MeshError("MESH_ZDS_BAD_REQUEST", "a pod was added without uid or without its name");
        }
        return this.#add(connection, { uid, ...named(workloadInfo) }, descriptor);
      }
      case "keep":
        return this.#keep(connection, payload.value.uid);
      case "del":
        return this.#delete(connection, payload.value.uid);
      case "snapshotSent":
        return this.#snapshotSent(connection);
      case undefined:
        throw new Breach("a message asks for nothing that is known");
    }
  }

  async #add(connection: Connection, pod: Parameters<HandedPods["add"]>[0], descriptor: number): Promise<void> {
    const { pods, enrolment } = this.#deps;
    connection.snapshot?.add(pod.uid);
    await pods.add(pod, descriptor);
    enrolment.reconcile();
    enrolment.recheck(pod.uid);
    const late = new AbortController();
    const cancel = this.#deps.clock.after(this.#options.answerMs, () =>
      late.abort(new MeshError("MESH_ENROLMENT_TIMEOUT", "the pod is not served yet; it goes on being tried")),
    );
    try {
      await enrolment.captured(pod.uid, AbortSignal.any([late.signal, this.#stopping.signal]));
    } finally {
      cancel();
    }
  }

  /** The CNI agent was restarted and has no netns for a pod that we may serve. */
  #keep(connection: Connection, uid: string): void {
    if (connection.snapshot === undefined) throw new Breach("a pod is to be kept after the snapshot");
    if (this.#deps.pods.has(uid)) connection.snapshot.add(uid);
    else this.#deps.log.warn({ uid }, "a pod is to be kept that was never handed over");
  }

  #delete(connection: Connection, uid: string): void {
    if (connection.snapshot !== undefined) {
      connection.snapshot.delete(uid);
      return;
    }
    if (this.#deps.pods.delete(uid)) this.#deps.enrolment.reconcile();
  }

  #snapshotSent(connection: Connection): void {
    const { pods, enrolment, log } = this.#deps;
    const { snapshot } = connection;
    if (snapshot === undefined) throw new Breach("a second snapshot was sent");
    connection.snapshot = undefined;
    for (const uid of pods.uids()) if (!snapshot.has(uid)) pods.delete(uid);
    enrolment.reconcile();
    log.info({ pods: snapshot.size }, "the CNI agent's snapshot is complete");
    this.#first.resolve();
  }
}

function decode(bytes: Uint8Array): WorkloadRequest["payload"] {
  try {
    return fromBinary(WorkloadRequestSchema, bytes).payload;
  } catch (error) {
    throw new Breach(`a message cannot be read: ${messageOf(error)}`);
  }
}

function named({ name, namespace, serviceAccount }: { name: string; namespace: string; serviceAccount: string }) {
  return { name, namespace, serviceAccount };
}

function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeSync(descriptor);
}
