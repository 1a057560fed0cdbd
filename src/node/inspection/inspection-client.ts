/**
 * Keeps one inspection stream open to control, whose asks a session answers. A lost stream comes back with backoff; traffic never waits
 * for it. Where control has replicas, the stream goes to the one that the address leads to, and whoever asks about the whole mesh asks
 * every replica: agents stay simple, and each keeps one stream.
 */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type ClientDuplexStream, status } from "@grpc/grpc-js";
import { backoffDelay } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { pause } from "../../lib/pause.ts";
import { type ControlStreamOptions, withControlStream } from "../../xds/control-stream.ts";
import {
  type AgentMessage,
  AgentMessageSchema,
  type ControlMessage,
  type HelloSchema,
  InspectionService,
} from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { grpcMethod } from "../../xds/grpc-service.ts";
import { type Answers, InspectionSession } from "./inspection-session.ts";

export interface InspectionClientDeps {
  readonly answers: Answers;
  readonly hello: () => MessageInitShape<typeof HelloSchema>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

const method = {
  ...grpcMethod(InspectionService.method.inspect),
  // Messages are encoded by `encode`.
  requestSerialize: (bytes: Buffer) => bytes,
};
const backoff = { firstMs: 200, factor: 2, longestMs: 15_000, jitter: 0.5 } as const;

/** A stream that lived this long was a good one: the next failure is a first one. */
const goodStreamMs = 10_000;

/** Asks are small. */
const largestAsk = 1 << 20;

type Stream = ClientDuplexStream<Buffer, ControlMessage>;

export class InspectionClient {
  readonly #deps: InspectionClientDeps;
  readonly #options: ControlStreamOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(deps: InspectionClientDeps, options: ControlStreamOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Returns at once: nothing of the agent waits for people who look. Idempotent. */
  start(): void {
    this.#running ??= this.#follow(this.#stop.signal);
  }

  /** May be called twice, and without a start. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("inspection is stopped"));
    await this.#running;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#deps;
    const { address } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      const began = clock.now();
      let ended: string;
      try {
        ended = await this.#stream(signal);
      } catch (error) {
        ended = messageOf(error);
      }
      if (signal.aborted) return;
      failures = clock.now() - began > goodStreamMs ? 1 : failures + 1;
      const retryMs = Math.round(backoffDelay(failures, backoff, random()));
      // Discovery tells loudly that control is away; here it is worth a line once, and when it is refused.
      if (failures === 2) log.warn({ address, retryMs }, `the inspection stream does not come up: ${ended}`);
      await pause(clock, retryMs, signal);
    }
  }

  /** One stream, to its end; resolves to how it ended. */
  #stream(signal: AbortSignal): Promise<string> {
    const { answers, hello, log } = this.#deps;
    return withControlStream(
      method,
      { ...this.#options, largestMessage: largestAsk },
      async (stream, ended) => {
        const session = new InspectionSession({
          answers,
          send: (message) => write(stream, encode(message), ended),
          failed: (error) => {
            log.warn({}, `the inspection stream is given up: ${messageOf(error)}`);
            stream.cancel();
          },
        });
        stream.on("data", (message: ControlMessage) => session.receive(message));
        try {
          stream.write(encode(create(AgentMessageSchema, { kind: { case: "hello", value: hello() } })));
          const { code, details } = await ended;
          return `${status[code]}: ${details}`;
        } finally {
          session.close();
        }
      },
      signal,
    );
  }
}

/** Here and not in gRPC, where a message that can't be encoded would end the stream instead of its own ask. */
function encode(message: AgentMessage): Buffer {
  const { buffer, byteOffset, byteLength } = toBinary(AgentMessageSchema, message);
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Resolves when there is room for the next message, or the stream has ended. */
async function write(stream: Stream, message: Buffer, ended: Promise<unknown>): Promise<void> {
  if (stream.destroyed || stream.write(message)) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.once("drain", resolve);
  await Promise.race([promise, ended]);
  stream.off("drain", resolve);
}
