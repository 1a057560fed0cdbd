/**
 * Answers `AggregatedDiscoveryService/DeltaAggregatedResources`: who is calling is proven as for certificates, and from then on each
 * stream is told what it subscribed to and may have. One response per type is on its way at a time; what changes meanwhile is
 * gathered, so a slow client costs us a set of names.
 */
import { type handleBidiStreamingCall, type ServerDuplexStream, status } from "@grpc/grpc-js";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { Slices } from "../../lib/slices.ts";
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequest,
} from "../../xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { grpcService } from "../../xds/grpc-service.ts";
import { bearerToken } from "../access/bearer-token.ts";
import type { NodeAuthenticator } from "../access/node-authenticator.ts";
import { endCall, readMessages } from "../grpc-call.ts";
import { type ClientStatus, DiscoveryStream } from "./discovery-stream.ts";
import type { ResourceStore, StoreChange } from "./resource-store.ts";

export interface DiscoveryServiceDeps {
  readonly store: ResourceStore;
  readonly nodes: NodeAuthenticator;
  readonly clock: Clock;
  readonly metrics: { discoveryResponse(): void; discoveryRejected(): void };
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface DiscoveryServiceOptions {
  /** A stream is ended after this, milliseconds: its client comes back, proves again who it is, and may find another replica. */
  readonly streamLifetimeMs: number;
  /** Largest response to clients that take a state in parts, bytes. */
  readonly chunkBytes: number;
}

export const discoveryDefaults: DiscoveryServiceOptions = { streamLifetimeMs: 30 * 60_000, chunkBytes: 256 * 1024 };

type Call = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

/** The service as gRPC wants it: responses are bytes already. */
export function discoveryDefinition() {
  const definition = grpcService(AggregatedDiscoveryService);
  const { DeltaAggregatedResources: delta } = definition;
  if (delta === undefined) throw new TypeError("the discovery service has no delta method");
  return { ...definition, DeltaAggregatedResources: { ...delta, responseSerialize: (bytes: Buffer) => bytes } };
}

export class DiscoveryService {
  readonly #deps: DiscoveryServiceDeps;
  readonly #options: DiscoveryServiceOptions;
  readonly #streams = new Map<Call, DiscoveryStream>();
  readonly #unsubscribe: () => void;
  /** Not told to all streams yet. */
  #changes: StoreChange[] = [];
  #telling = false;
  #stopped = false;

  constructor(deps: DiscoveryServiceDeps, options: DiscoveryServiceOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#unsubscribe = deps.store.onChange((change) => {
      this.#changes.push(change);
      if (!this.#telling) void this.#tellAll();
    });
  }

  /** Everybody who listens now, and how it goes. */
  clients(): readonly ClientStatus[] {
    return [...this.#streams.values()].map((stream) => stream.status());
  }

  /** Ends all streams, so that their clients go to another replica or come back later. May be called twice. */
  stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    for (const call of this.#streams.keys()) endCall(call, status.UNAVAILABLE, "the control plane stops");
  }

  readonly deltaAggregatedResources: handleBidiStreamingCall<DeltaDiscoveryRequest, Buffer> = (call) => {
    // Nothing of what a stranger sends is read before it is known who it is: the call reads when it is listened to.
    call.on("error", () => {});
    this.#serve(call).catch((error: unknown) => {
      this.#deps.log.warn({ error }, `a discovery stream cannot be served: ${messageOf(error)}`);
      endCall(call, status.INTERNAL, messageOf(error));
    });
  };

  readonly streamAggregatedResources: handleBidiStreamingCall<unknown, unknown> = (call) => {
    endCall(call, status.UNIMPLEMENTED, "use DeltaAggregatedResources");
  };

  async #serve(call: Call): Promise<void> {
    const { nodes, store, clock, log, metrics } = this.#deps;
    const peer = call.getPeer();
    const caller = await nodes.authenticate(bearerToken(call.metadata));
    if ("refused" in caller) {
      log.warn({ peer }, `discovery refused: ${caller.refused}`);
      return endCall(call, status.UNAUTHENTICATED, "not authenticated");
    }
    if (this.#stopped) return endCall(call, status.UNAVAILABLE, "the control plane stops");
    if (call.cancelled) return;
    const { node } = caller;
    const stream = new DiscoveryStream(
      {
        store,
        clock,
        metrics,
        log,
        send: (bytes) => void call.write(bytes),
        failed: (error) => this.#cannotTell(call, error),
      },
      { node, peer, chunkBytes: this.#options.chunkBytes },
    );
    this.#streams.set(call, stream);
    log.info({ node, peer }, "discovery client connected");
    // Streams that began together don't end together.
    const lifetime = this.#options.streamLifetimeMs * (0.9 + Math.random() * 0.2);
    const cancel = clock.after(lifetime, () => endCall(call, status.UNAVAILABLE, "time to reconnect"));
    const gone = () => {
      cancel();
      stream.close();
      if (this.#streams.delete(call)) log.info({ node, peer }, "discovery client gone");
    };
    call.on("cancelled", gone).on("close", gone).on("error", gone);
    call.on("end", () => {
      gone();
      call.end();
    });
    readMessages(call, {
      take: (request) => stream.request(request),
      failed: (error) => log.warn({ node, peer, error }, `a discovery request failed: ${messageOf(error)}`),
    });
  }

  /** As many streams as the cluster has nodes: they are told in slices, and what changes meanwhile is told to all in another round. */
  async #tellAll(): Promise<void> {
    this.#telling = true;
    const slices = new Slices();
    while (this.#changes.length > 0) {
      const changes = this.#changes;
      this.#changes = [];
      for (const [call, stream] of this.#streams) {
        this.#tell(call, stream, changes);
        if (slices.due) await slices.rest();
      }
    }
    this.#telling = false;
  }

  /** What cannot be told to one must not keep the others from hearing it. */
  #tell(call: Call, stream: DiscoveryStream, changes: readonly StoreChange[]): void {
    try {
      stream.changed(changes);
    } catch (error) {
      this.#cannotTell(call, error);
    }
  }

  #cannotTell(call: Call, error: unknown): void {
    this.#deps.log.warn({ peer: call.getPeer(), error }, `a discovery client cannot be told: ${messageOf(error)}`);
    endCall(call, status.INTERNAL, messageOf(error));
  }
}
