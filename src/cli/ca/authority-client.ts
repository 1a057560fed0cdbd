/** The authority as the `warren ca` verbs call it. Replicas of control share its state, so the first one that answers speaks for all. */
import {
  create,
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { MeshError } from "../../lib/errors.ts";
import {
  AuthorityService,
  type RevokeResponse,
  type Status,
  WatchStatusRequestSchema,
} from "../../xds/gen/warren/authority/v1/authority_pb.ts";
import { grpcMethod } from "../../xds/grpc-service.ts";
import type { MeshClient } from "../query/mesh-client.ts";
import { callUnary, type Replica, streamOf } from "../query/replica.ts";

type Unary<I extends DescMessage, O extends DescMessage> = DescMethod & { input: I; output: O };

const { method } = AuthorityService;

export class AuthorityClient {
  readonly #replicas: readonly Replica[];

  constructor(mesh: Pick<MeshClient, "replicas">) {
    this.#replicas = mesh.replicas;
  }

  async status(signal: AbortSignal): Promise<Status> {
    return statusOf(await this.#first((replica) => this.#call(replica, method.getStatus, {}, signal)));
  }

  async rotateIntermediate(signal: AbortSignal): Promise<Status> {
    return statusOf(await this.#first((replica) => this.#call(replica, method.rotateIntermediate, {}, signal)));
  }

  /** `excused`: nodes to go on without; `all` for every node that is waited for. Undefined begins a rotation, or joins the one under way. */
  async rotateRoot(excused: readonly string[] | "all" | undefined, signal: AbortSignal): Promise<Status> {
    const nodes = excused === undefined || excused === "all" ? [] : [...excused];
    const request = { force: excused !== undefined, nodes };
    return statusOf(await this.#first((replica) => this.#call(replica, method.rotateRoot, request, signal)));
  }

  async restore(identities: readonly string[], signal: AbortSignal): Promise<Status> {
    const request = { identities: [...identities] };
    return statusOf(await this.#first((replica) => this.#call(replica, method.restore, request, signal)));
  }

  /** At every replica: each can ask only the agents that are connected to it which certificates they have. */
  async revoke(
    serials: readonly string[],
    identities: readonly string[],
    signal: AbortSignal,
  ): Promise<Pick<RevokeResponse, "serials" | "unaskedNodes">> {
    const request = { serials: [...serials], identities: [...identities] };
    const answers = await Promise.allSettled(
      this.#replicas.map((replica) => this.#call(replica, method.revoke, request, signal)),
    );
    const told = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
    const [failed] = answers.flatMap((answer) => (answer.status === "rejected" ? [answer.reason as unknown] : []));
    if (told.length === 0) throw failed;
    return {
      serials: [...new Set(told.flatMap((answer) => answer.serials))],
      unaskedNodes: (told[0]?.unaskedNodes ?? []).filter((node) =>
        told.every(({ unaskedNodes }) => unaskedNodes.includes(node)),
      ),
    };
  }

  /** The status now and each time that it changes; throws when the replica goes away. */
  async *watch(signal: AbortSignal): AsyncGenerator<Status, void, undefined> {
    const replica = await this.#first(async (one) => {
      await this.#call(one, method.getStatus, {}, signal);
      return one;
    });
    const request = create(WatchStatusRequestSchema);
    for await (const answer of streamOf(replica, grpcMethod(method.watchStatus), request, signal))
      yield statusOf(answer);
  }

  async #call<I extends DescMessage, O extends DescMessage>(
    replica: Replica,
    of: Unary<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal,
  ): Promise<MessageShape<O>> {
    return await callUnary(replica, grpcMethod(of), create(of.input, request), signal);
  }

  /** A replica that cannot be reached is passed over; one that refuses has spoken. */
  async #first<T>(ask: (replica: Replica) => Promise<T>): Promise<T> {
    let failure: unknown = new MeshError("MESH_UNREACHABLE_CONTROL", "there is no control plane");
    for (const replica of this.#replicas) {
      try {
        return await ask(replica);
      } catch (error) {
        if (!(error instanceof MeshError) || error.code !== "MESH_UNREACHABLE_CONTROL") throw error;
        failure = error;
      }
    }
    throw failure;
  }
}

function statusOf({ status }: { readonly status?: Status | undefined }): Status {
  if (status === undefined) throw new MeshError("MESH_UNREACHABLE_CONTROL", "control answered without a status");
  return status;
}
