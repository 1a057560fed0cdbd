/**
 * The node's container runtime as far as its CRI socket goes: it lists the sandboxes of the node and tells where their netns are, as containerd
 * does. gRPC is spoken by hand over node:http2 (a message is a flag, a length and the bytes; the status comes in the trailers), because the
 * lab's socket must not keep its process alive, and a gRPC server does.
 */

import { createServer, type Http2Server, type ServerHttp2Stream } from "node:http2";
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import {
  ListPodSandboxRequestSchema,
  ListPodSandboxResponseSchema,
  PodSandboxState,
  PodSandboxStatusRequestSchema,
  PodSandboxStatusResponseSchema,
} from "../../capture/cri/gen/runtime/v1/api_pb.ts";

export interface RuntimeSandbox {
  readonly container: string;
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly pid: number;
  readonly netns: string;
  readonly createdAt: Date;
}

const uidLabel = "io.kubernetes.pod.uid";
/** Questions are tens of bytes. */
const longestQuestion = 64 * 1024;

export class RuntimeSocket {
  readonly #server: Http2Server;
  readonly #sandboxes: () => readonly RuntimeSandbox[];

  constructor(sandboxes: () => readonly RuntimeSandbox[]) {
    this.#sandboxes = sandboxes;
    this.#server = createServer();
    this.#server.on("stream", (stream, headers) => {
      stream.on("error", () => stream.destroy());
      this.#serve(stream, headers[":path"] ?? "");
    });
    this.#server.on("session", (session) => session.on("error", () => session.destroy()).unref());
    this.#server.unref();
  }

  listen(path: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject).listen(path, () => resolve());
    return promise;
  }

  close(): void {
    this.#server.close();
  }

  #serve(stream: ServerHttp2Stream, path: string): void {
    const chunks: Buffer[] = [];
    let size = 0;
    stream.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > longestQuestion) stream.destroy();
      else chunks.push(chunk);
    });
    stream.on("end", () => {
      const answer = this.#answer(path, Buffer.concat(chunks).subarray(5));
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () =>
        stream.sendTrailers({ "grpc-status": answer === undefined ? String(unimplemented) : "0" }),
      );
      stream.end(answer === undefined ? undefined : framed(answer));
    });
  }

  #answer(path: string, question: Uint8Array): Uint8Array | undefined {
    switch (path) {
      case "/runtime.v1.RuntimeService/ListPodSandbox":
        return this.#list(fromBinary(ListPodSandboxRequestSchema, question));
      case "/runtime.v1.RuntimeService/PodSandboxStatus":
        return this.#status(fromBinary(PodSandboxStatusRequestSchema, question));
      default:
        return undefined;
    }
  }

  #list({ filter }: MessageShape<typeof ListPodSandboxRequestSchema>): Uint8Array {
    const wanted = filter?.labelSelector[uidLabel];
    const found = this.#sandboxes().filter(({ uid }) => wanted === undefined || uid === wanted);
    const items = found.map(({ container, uid, name, namespace, createdAt }) => ({
      id: container,
      metadata: { uid, name, namespace },
      state: PodSandboxState.SANDBOX_READY,
      createdAt: BigInt(createdAt.getTime()) * 1_000_000n,
      labels: { [uidLabel]: uid },
    }));
    return encoded(ListPodSandboxResponseSchema, create(ListPodSandboxResponseSchema, { items }));
  }

  #status({ podSandboxId, verbose }: MessageShape<typeof PodSandboxStatusRequestSchema>): Uint8Array {
    const found = this.#sandboxes().find(({ container }) => container === podSandboxId);
    const info =
      found === undefined || !verbose
        ? {}
        : {
            info: JSON.stringify({
              pid: found.pid,
              runtimeSpec: { linux: { namespaces: [{ type: "network", path: found.netns }] } },
            }),
          };
    return encoded(PodSandboxStatusResponseSchema, create(PodSandboxStatusResponseSchema, { info }));
  }
}

/** gRPC's status for a method that is not there. */
const unimplemented = 12;

function encoded<Schema extends DescMessage>(schema: Schema, message: MessageShape<Schema>): Uint8Array {
  return toBinary(schema, message);
}

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
