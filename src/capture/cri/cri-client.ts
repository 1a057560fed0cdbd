/**
 * Asks the node's container runtime where a pod's netns is, over its CRI socket (runtime.v1.RuntimeService). It is the exact answer, and
 * the only one for sandboxes without a process of their own. Two calls of the interface are used; both only read.
 */
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import { messageOf } from "../../lib/errors.ts";
import { CaptureError } from "../errors.ts";
import {
  ListPodSandboxRequestSchema,
  ListPodSandboxResponseSchema,
  type PodSandbox,
  PodSandboxState,
  PodSandboxStatusRequestSchema,
  PodSandboxStatusResponseSchema,
} from "./gen/runtime/v1/api_pb.ts";
import { netnsPathOf } from "./sandbox-info.ts";

export interface CriClientOptions {
  /** Path of the runtime's unix socket. */
  readonly socket: string;
  readonly timeoutMs: number;
  readonly procRoot: string;
}

/** The kubelet labels each sandbox with its pod's uid. */
const uidLabel = "io.kubernetes.pod.uid";

export class CriClient {
  readonly #options: CriClientOptions;
  readonly #client: Client;

  constructor(options: CriClientOptions) {
    this.#options = options;
    // Connects with the first call, and again by itself after the runtime was restarted.
    this.#client = new Client(`unix://${options.socket}`, credentials.createInsecure(), {
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 5000,
    });
  }

  /** Path of the netns of the pod's newest sandbox that is ready; undefined when the runtime has none. Rejects with MESH_CRI_FAILED. */
  async netnsPath(uid: string): Promise<string | undefined> {
    const listed = await this.#call(
      "ListPodSandbox",
      ListPodSandboxRequestSchema,
      create(ListPodSandboxRequestSchema, {
        filter: { state: { state: PodSandboxState.SANDBOX_READY }, labelSelector: { [uidLabel]: uid } },
      }),
      ListPodSandboxResponseSchema,
    );
    // Runtimes differ in how they filter: what is not this pod's must not pass for it.
    const own = listed.items.filter(
      ({ metadata, state }) => metadata?.uid === uid && state === PodSandboxState.SANDBOX_READY,
    );
    const newest = own.sort(newerFirst)[0];
    if (newest === undefined) return undefined;
    const { info } = await this.#call(
      "PodSandboxStatus",
      PodSandboxStatusRequestSchema,
      create(PodSandboxStatusRequestSchema, { podSandboxId: newest.id, verbose: true }),
      PodSandboxStatusResponseSchema,
    );
    return netnsPathOf(info["info"] ?? "", this.#options.procRoot);
  }

  close(): void {
    this.#client.close();
  }

  #call<Request extends DescMessage, Response extends DescMessage>(
    method: string,
    request: Request,
    message: MessageShape<Request>,
    response: Response,
  ): Promise<MessageShape<Response>> {
    const { socket, timeoutMs } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<MessageShape<Response>>();
    this.#client.makeUnaryRequest(
      `/runtime.v1.RuntimeService/${method}`,
      (value: MessageShape<Request>) => Buffer.from(toBinary(request, value)),
      (bytes: Buffer) => fromBinary(response, bytes),
      message,
      { deadline: Date.now() + timeoutMs },
      (error, answer) => {
        if (answer !== undefined && error === null) resolve(answer);
        else
          reject(
            new CaptureError(
              "MESH_CRI_FAILED",
              `the container runtime at ${socket} does not answer ${method}: ${messageOf(error)}`,
              { cause: error },
            ),
          );
      },
    );
    return promise;
  }
}

function newerFirst(one: PodSandbox, other: PodSandbox): number {
  return one.createdAt === other.createdAt ? 0 : one.createdAt > other.createdAt ? -1 : 1;
}
