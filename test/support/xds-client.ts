/** A delta-xDS client written from the protos alone: it sends what a test says and shows what it was sent. */
import { readFileSync } from "node:fs";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { expect, onTestFinished } from "vitest";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";

export type RequestInit = MessageInitShape<typeof DeltaDiscoveryRequestSchema>;

const path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const prefix = "type.googleapis.com/";

export class XdsClient {
  readonly responses: DeltaDiscoveryResponse[] = [];
  /** Held resources by name, as a client that keeps to the protocol has them. */
  readonly held = new Map<string, { version: string; bytes: Uint8Array }>();
  error: ServiceError | undefined;
  readonly #stream;

  constructor(options: { address: string; rootFile: string; token: string }) {
    const client = new Client(options.address, credentials.createSsl(readFileSync(options.rootFile)), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": -1,
    });
    onTestFinished(() => client.close());
    const metadata = new Metadata();
    if (options.token !== "") metadata.set("authorization", `Bearer ${options.token}`);
    this.#stream = client.makeBidiStreamRequest<Uint8Array, DeltaDiscoveryResponse>(
      path,
      (bytes) => Buffer.from(bytes),
      (bytes) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
      metadata,
    );
    onTestFinished(() => this.#stream.cancel());
    this.#stream.on("error", (error: ServiceError) => {
      this.error = error;
    });
    this.#stream.on("data", (response: DeltaDiscoveryResponse) => {
      this.responses.push(response);
      for (const { name, version, resource } of response.resources) {
        this.held.set(name, { version, bytes: resource?.value ?? new Uint8Array() });
      }
      for (const name of response.removedResources) this.held.delete(name);
    });
  }

  /** `type` without the `type.googleapis.com/`. */
  send(type: string, request: Omit<RequestInit & object, "typeUrl" | "$typeName"> = {}): void {
    const message = create(DeltaDiscoveryRequestSchema, { ...request, typeUrl: prefix + type });
    this.#stream.write(toBinary(DeltaDiscoveryRequestSchema, message));
  }

  /** The n-th response to come, counted from 1. */
  async response(number: number): Promise<DeltaDiscoveryResponse> {
    // As long as a test may take: an answer to hundreds of thousands of names is work that a busy machine spreads out.
    await expect.poll(() => this.error ?? this.responses.length, { timeout: 110_000 }).toBeGreaterThanOrEqual(number);
    return this.responses[number - 1] as DeltaDiscoveryResponse;
  }

  acknowledge({ typeUrl, nonce }: DeltaDiscoveryResponse, error?: string): void {
    this.send(typeUrl.slice(prefix.length), {
      responseNonce: nonce,
      ...(error === undefined ? {} : { errorDetail: { code: 3, message: error } }),
    });
  }

  end(): void {
    this.#stream.cancel();
  }
}

/** What a response brings, by name. */
export function namesIn(response: DeltaDiscoveryResponse): string[] {
  return response.resources.map(({ name }) => name).sort();
}
