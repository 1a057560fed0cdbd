/**
 * One inspection stream as the agent serves it, without the wire: asks come in under numbers and are answered side by side. Answers are
 * pulled: the next message of one is made only when control has allowed it and the wire has room, so what is not read costs nothing but
 * what the answer itself keeps.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { MeshError, messageOf } from "../../lib/errors.ts";
import {
  type AgentMessage,
  AgentMessageSchema,
  type ControlMessage,
} from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";

type AskKind = ControlMessage["kind"];
type AskCase = Exclude<NonNullable<AskKind["case"]>, "cancel" | "more">;
type AskValue<C extends AskCase> = Extract<AskKind, { case: C }>["value"];

/** One message of an answer. */
export type AnswerKind = NonNullable<MessageInitShape<typeof AgentMessageSchema>["kind"]>;
export type Answer = Iterable<AnswerKind> | AsyncIterable<AnswerKind>;

/** How each kind of ask is answered; the signal says that nobody reads any more. What is absent is answered as unknown. */
export type Answers = { readonly [C in AskCase]?: (ask: AskValue<C>, signal: AbortSignal) => Answer };

export interface InspectionSessionDeps {
  readonly answers: Answers;
  /** Resolves when the wire has room for the next one. */
  readonly send: (message: AgentMessage) => Promise<void>;
  /** An answer could not even be ended: the stream is of no use any more. */
  readonly failed: (error: unknown) => void;
}

/** Messages of an ask before control allows more (inspect.proto, `More`). */
export const firstWindow = 16;

/** Asks answered at once; one more is refused. Taps of a few people and a listing or two are far below. */
export const mostAsks = 64;

interface Running {
  readonly abort: AbortController;
  window: number;
  wake: () => void;
}

export class InspectionSession {
  readonly #deps: InspectionSessionDeps;
  readonly #running = new Map<bigint, Running>();
  #closed = false;

  constructor(deps: InspectionSessionDeps) {
    this.#deps = deps;
  }

  /** Asks that are being answered now. */
  get running(): number {
    return this.#running.size;
  }

  receive({ ask, kind }: ControlMessage): void {
    if (this.#closed) return;
    if (kind.case === "cancel") {
      this.#running.get(ask)?.abort.abort(new MeshError("MESH_INSPECT_CANCELLED", "the ask was cancelled"));
    } else if (kind.case === "more") {
      const running = this.#running.get(ask);
      if (running === undefined) return;
      running.window += kind.value.messages;
      running.wake();
    } else {
      this.#answer(ask, kind).catch(this.#deps.failed);
    }
  }

  /** Nobody reads any more: every answer is given up. May be called twice. */
  close(): void {
    this.#closed = true;
    for (const { abort } of this.#running.values())
      abort.abort(new MeshError("MESH_INSPECT_CLOSED", "the stream ended"));
  }

  async #answer(ask: bigint, kind: AskKind): Promise<void> {
    if (this.#running.has(ask)) return this.#end(ask, "MESH_INSPECT_NUMBER", `ask ${ask} is being answered already`);
    if (this.#running.size >= mostAsks)
      return this.#end(ask, "MESH_INSPECT_BUSY", `${mostAsks} asks are being answered; try again`);
    const answer = this.#deps.answers[kind.case as AskCase] as
      | ((value: unknown, signal: AbortSignal) => Answer)
      | undefined;
    if (answer === undefined) return this.#end(ask, "MESH_INSPECT_UNKNOWN", "this agent does not know this question");
    const running: Running = { abort: new AbortController(), window: firstWindow, wake: () => {} };
    this.#running.set(ask, running);
    const { signal } = running.abort;
    signal.addEventListener("abort", () => running.wake(), { once: true });
    try {
      for await (const message of answer(kind.value, signal)) {
        await allowed(running);
        if (signal.aborted) break;
        running.window--;
        await this.#deps.send(create(AgentMessageSchema, { ask, kind: message }));
        if (signal.aborted) break;
      }
      await this.#end(ask, "", "");
    } catch (error) {
      if (signal.aborted) await this.#end(ask, "", "");
      else await this.#end(ask, error instanceof MeshError ? error.code : "MESH_INSPECT_FAILED", messageOf(error));
    } finally {
      this.#running.delete(ask);
    }
  }

  async #end(ask: bigint, errorCode: string, errorMessage: string): Promise<void> {
    if (this.#closed) return;
    await this.#deps.send(
      create(AgentMessageSchema, { ask, kind: { case: "end", value: { errorCode, errorMessage } } }),
    );
  }
}

async function allowed(running: Running): Promise<void> {
  while (running.window <= 0 && !running.abort.signal.aborted) {
    const { promise, resolve } = Promise.withResolvers<void>();
    running.wake = resolve;
    await promise;
  }
}
