/** A discovery server that does what a test says, also what no server should. */
import { readFileSync } from "node:fs";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { expect, onTestFinished } from "vitest";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { NamedResource } from "../../../src/xds/resources/resource-types.ts";

type Call = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

export type Scripted = Pick<NamedResource, "name" | "bytes"> & { readonly version?: string };

export const types = {
  settings: "type.googleapis.com/warren.mesh.v1.Settings",
  policy: "type.googleapis.com/warren.policy.v1.Policy",
  authorization: "type.googleapis.com/istio.security.Authorization",
  address: "type.googleapis.com/istio.workload.Address",
  localPod: "type.googleapis.com/warren.node.v1.LocalPod",
} as const;

export class ScriptedServer {
  /** Of the stream that was opened last. */
  requests: DeltaDiscoveryRequest[] = [];
  streams = 0;
  #call: Call | undefined;
  #server: Server | undefined;

  /** The port that was bound. */
  async start(files: { certificate: string; key: string }, port = 0): Promise<number> {
    const pair = { cert_chain: readFileSync(files.certificate), private_key: readFileSync(files.key) };
    const server = new Server();
    this.#server = server;
    const delta = {
      path: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
      requestStream: true,
      responseStream: true,
      requestSerialize: (message: DeltaDiscoveryRequest) => Buffer.from(toBinary(DeltaDiscoveryRequestSchema, message)),
      requestDeserialize: (bytes: Buffer) => fromBinary(DeltaDiscoveryRequestSchema, bytes),
      responseSerialize: (bytes: Buffer) => bytes,
      responseDeserialize: (bytes: Buffer) => bytes,
    };
    server.addService(
      { delta },
      {
        delta: (call: Call) => {
          this.streams++;
          this.requests = [];
          this.#call = call;
          call.on("error", () => {});
          call.on("data", (request: DeltaDiscoveryRequest) => this.requests.push(request));
        },
      },
    );
    onTestFinished(() => this.stop());
    return new Promise((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createSsl(null, [pair]), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
  }

  stop(): void {
    this.#server?.forceShutdown();
  }

  send(
    type: keyof typeof types,
    resources: readonly Scripted[],
    options: { readonly removed?: readonly string[]; readonly nonce?: string; readonly more?: boolean } = {},
  ): void {
    const message = create(DeltaDiscoveryResponseSchema, {
      typeUrl: types[type],
      nonce: options.nonce ?? `n${Math.random()}`,
      more: options.more ?? false,
      removedResources: [...(options.removed ?? [])],
      resources: resources.map(({ name, bytes, version = "1" }) => ({
        name,
        version,
        resource: { typeUrl: types[type], value: bytes },
      })),
    });
    this.raw(Buffer.from(toBinary(DeltaDiscoveryResponseSchema, message)));
  }

  raw(bytes: Buffer): void {
    this.#call?.write(bytes);
  }

  end(code: status = status.UNAVAILABLE): void {
    this.#call?.emit("error", { code, details: "as the test says" });
  }

  /** Resolves to the answer to a nonce. */
  async answer(nonce: string): Promise<DeltaDiscoveryRequest> {
    const find = () => this.requests.find(({ responseNonce }) => responseNonce === nonce);
    await expect.poll(find, { timeout: 30_000 }).toBeDefined();
    return find() as DeltaDiscoveryRequest;
  }

  /** Resolves when the first requests of all types came on stream number `stream`. */
  async asked(stream: number, count = 4): Promise<void> {
    const all = () => this.streams >= stream && new Set(this.requests.map(({ typeUrl }) => typeUrl)).size === count;
    await expect.poll(all, { timeout: 30_000 }).toBe(true);
  }
}
