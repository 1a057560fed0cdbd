/** What the agents of a mesh answer to one question, merged over the replicas of control, with an account of who answered. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Channel } from "../../lib/channel.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { type AgentMessage, ControlMessageSchema } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import {
  type AskAnswer,
  AskRequestSchema,
  Failure_Kind,
  OperatorService,
} from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { grpcMethod } from "../../xds/grpc-service.ts";
import { type Replica, streamOf } from "./replica.ts";

/** One of the asks of inspect.proto, with the fields that are not at their defaults. */
export type AskKind = NonNullable<MessageInitShape<typeof ControlMessageSchema>["kind"]>;

export interface AskOptions {
  /** Absent or empty: all. */
  readonly nodes?: readonly string[];
  /** Milliseconds that a node may take to its next message. */
  readonly timeoutMs?: number;
  /** Until the signal: agents that come, or come back, are asked too. */
  readonly follow?: boolean;
}

export interface NodeMessage {
  readonly node: string;
  readonly kind: AgentMessage["kind"];
  /** When it was asked and answered by control's clock, Unix time in milliseconds. */
  readonly askedAt: number;
  readonly receivedAt: number;
}

export interface NodeFailure {
  readonly node: string;
  readonly message: string;
}

/** Who was asked, who answered to the end, and why the others didn't. */
export interface Outcome {
  readonly asked: readonly string[];
  readonly answered: readonly string[];
  readonly failures: readonly NodeFailure[];
}

const ask = grpcMethod(OperatorService.method.ask);
const channelSize = 32;

export class Asked implements AsyncIterable<NodeMessage> {
  readonly #replicas: readonly Replica[];
  readonly #kind: AskKind;
  readonly #options: AskOptions;
  readonly #signal: AbortSignal;
  readonly #asked = new Set<string>();
  readonly #answered = new Set<string>();
  /** Of several replicas' words about a node the most telling one. */
  readonly #failures = new Map<string, { readonly kind: Failure_Kind; readonly message: string }>();

  constructor(replicas: readonly Replica[], kind: AskKind, options: AskOptions, signal: AbortSignal) {
    this.#replicas = replicas;
    this.#kind = kind;
    this.#options = options;
    this.#signal = signal;
  }

  /** Complete once the loop has ended; before that, what is known so far. */
  get outcome(): Outcome {
    const failures = [...this.#failures].flatMap(([node, { message }]) =>
      this.#answered.has(node) ? [] : [{ node, message }],
    );
    return { asked: [...this.#asked].sort(), answered: [...this.#answered].sort(), failures };
  }

  async *[Symbol.asyncIterator](): AsyncIterator<NodeMessage> {
    const leaving = new AbortController();
    const signal = AbortSignal.any([this.#signal, leaving.signal]);
    const channel = new Channel<NodeMessage>(channelSize);
    let left = this.#replicas.length;
    const failed: unknown[] = [];
    const followOne = async (replica: Replica) => {
      try {
        await this.#follow(replica, channel, signal);
      } catch (error) {
        failed.push(error);
      }
      // One replica that is away leaves the agents of the others; when all are, there is nobody to ask.
      if (--left > 0) return;
      channel.close(failed.length === this.#replicas.length ? { error: failed[0] } : undefined);
    };
    for (const replica of this.#replicas) void followOne(replica);
    try {
      yield* channel;
    } catch (error) {
      // Whoever stops a watch has seen what there was.
      if (!this.#signal.aborted || this.#options.follow !== true) throw error;
    } finally {
      leaving.abort(new Error("nobody reads any more"));
    }
  }

  async #follow(replica: Replica, channel: Channel<NodeMessage>, signal: AbortSignal): Promise<void> {
    const { nodes = [], timeoutMs = 0, follow = false } = this.#options;
    const message = create(ControlMessageSchema, { kind: this.#kind });
    const request = create(AskRequestSchema, { ask: message, nodes: [...nodes], timeout: timeoutMs, follow });
    for await (const answer of streamOf(replica, ask, request, signal)) {
      const told = this.#take(answer);
      if (told !== undefined && !(await channel.put(told))) return;
    }
  }

  #take({ node, kind, askedAt, receivedAt }: AskAnswer): NodeMessage | undefined {
    switch (kind.case) {
      case "asked":
        for (const name of kind.value.nodes) this.#asked.add(name);
        return undefined;
      case "failure":
        this.#failed(node, kind.value.kind, kind.value.message);
        return undefined;
      case "message": {
        this.#asked.add(node);
        const message = kind.value.kind;
        if (message.case === "end") {
          const { errorCode, errorMessage } = message.value;
          if (errorCode === "") this.#answered.add(node);
          else this.#failed(node, Failure_Kind.UNSPECIFIED, `${errorMessage} (${errorCode})`);
          return undefined;
        }
        return { node, kind: message, askedAt: milliseconds(askedAt), receivedAt: milliseconds(receivedAt) };
      }
      case undefined:
        return undefined;
    }
  }

  #failed(node: string, kind: Failure_Kind, message: string): void {
    const before = this.#failures.get(node);
    if (before !== undefined && before.kind !== Failure_Kind.NOT_CONNECTED) return;
    this.#failures.set(node, { kind, message });
  }
}

function milliseconds(time: { readonly seconds: bigint; readonly nanos: number } | undefined): number {
  return time === undefined ? 0 : Number(time.seconds) * 1000 + time.nanos / 1e6;
}

type AnswerCase = NonNullable<AgentMessage["kind"]["case"]>;
type AnswerValues = { [K in AgentMessage["kind"] as NonNullable<K["case"]>]: K["value"] };
type AnswerValue<C extends AnswerCase> = AnswerValues[C];

/** The rows of one kind of message, each with the node it came from. */
export async function rowsOf<C extends AnswerCase, T>(
  asked: Asked,
  wanted: C,
  rows: (value: AnswerValue<C>, message: NodeMessage) => readonly T[],
): Promise<T[]> {
  const found: T[] = [];
  for await (const message of asked) {
    const { kind } = message;
    if (kind.case !== wanted) throw new MeshError("MESH_INSPECT_ANSWER", `${message.node} answered ${kind.case}`);
    found.push(...rows(kind.value as AnswerValue<C>, message));
  }
  return found;
}

/** For messages that say it all. */
export function failureText({ failures, asked, answered }: Outcome): string {
  const why = failures.map(({ node, message }) => `\n  ${node}: ${messageOf(message)}`).join("");
  return `${answered.length}/${asked.length} nodes answered${why}`;
}
