/**
 * One agent's inspection stream, without the wire: asks go out under numbers, messages come back and are dealt to whoever asked. Each
 * ask has a window, so that a reader who is slow holds back its own answer alone and what waits here has an end.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { MeshError } from "../../lib/errors.ts";
import {
  type AgentMessage,
  type ControlMessage,
  ControlMessageSchema,
  type Hello,
} from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";

export type Ask = ControlMessage["kind"];

export interface AgentStreamDeps {
  readonly send: (message: ControlMessage) => void;
}

export interface AgentStreamOptions {
  /** Proven by the stream's credentials. */
  readonly node: string;
  readonly peer: string;
  /** Unix time in milliseconds. */
  readonly connectedAt: number;
}

/** Messages that an agent may send of an ask before it was allowed more; both sides know it (inspect.proto, `More`). */
export const firstWindow = 16;

/** Asks at once on one stream; an agent refuses more than it can serve by itself. */
const mostAsks = 256;

interface PendingAsk {
  readonly messages: AgentMessage[];
  /** What the agent may still send. */
  window: number;
  wake: () => void;
}

/** The agent went away, or was replaced, before it had answered. */
export class AgentLost extends MeshError {
  constructor(node: string) {
    super("MESH_AGENT_LOST", `the agent of ${node} went away; is it running? see: warren status`);
  }
}

export class AgentStream {
  readonly node: string;
  readonly peer: string;
  readonly connectedAt: number;
  readonly #send: AgentStreamDeps["send"];
  readonly #asks = new Map<bigint, PendingAsk>();
  #hello: Hello | undefined;
  #number = 0n;
  #closed = false;

  constructor(deps: AgentStreamDeps, { node, peer, connectedAt }: AgentStreamOptions) {
    this.#send = deps.send;
    this.node = node;
    this.peer = peer;
    this.connectedAt = connectedAt;
  }

  /** What the agent says of itself; undefined until it has spoken. */
  get hello(): Hello | undefined {
    return this.#hello;
  }

  /** What is wrong with the message, if anything is. */
  receive(message: AgentMessage): string | undefined {
    const { ask, kind } = message;
    if (kind.case === "hello") {
      if (this.#hello !== undefined) return "hello was said before";
      this.#hello = kind.value;
      return undefined;
    }
    if (this.#hello === undefined) return "hello comes first";
    const pending = this.#asks.get(ask);
    // Of an ask that was cancelled meanwhile.
    if (pending === undefined) return ask > 0n && ask <= this.#number ? undefined : `nothing was asked under ${ask}`;
    if (kind.case !== "end" && pending.window-- <= 0) return `ask ${ask} is answered with more than was allowed`;
    pending.messages.push(message);
    pending.wake();
    return undefined;
  }

  /**
   * The messages that answer, the last of them `end`. Throws AgentLost when the stream ends first. Leaving the loop, or aborting, tells
   * the agent to stop.
   */
  async *ask(kind: Ask, signal: AbortSignal): AsyncGenerator<AgentMessage, void, undefined> {
    signal.throwIfAborted();
    if (this.#closed) throw new AgentLost(this.node);
    if (this.#asks.size >= mostAsks)
      throw new MeshError("MESH_INSPECT_BUSY", `${mostAsks} asks to ${this.node} are under way; try again`);
    const number = ++this.#number;
    const pending: PendingAsk = { messages: [], window: firstWindow, wake: () => {} };
    this.#asks.set(number, pending);
    const onAbort = () => pending.wake();
    signal.addEventListener("abort", onAbort);
    let ended = false;
    let taken = 0;
    try {
      this.#send(create(ControlMessageSchema, { ask: number, kind }));
      for (;;) {
        signal.throwIfAborted();
        const message = pending.messages.shift();
        if (message === undefined) {
          if (this.#closed) throw new AgentLost(this.node);
          const { promise, resolve } = Promise.withResolvers<void>();
          pending.wake = resolve;
          await promise;
          continue;
        }
        ended = message.kind.case === "end";
        yield message;
        if (ended) return;
        // Half a window at a time: the agent goes on while we catch up, and not every message costs one.
        if (++taken === firstWindow / 2) {
          pending.window += taken;
          this.#command(number, { case: "more", value: { messages: taken } });
          taken = 0;
        }
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#asks.delete(number);
      if (!ended) this.#command(number, { case: "cancel", value: {} });
    }
  }

  /** The wire is gone: every ask ends with AgentLost once what came was read. */
  close(): void {
    this.#closed = true;
    for (const { wake } of this.#asks.values()) wake();
  }

  #command(ask: bigint, kind: NonNullable<MessageInitShape<typeof ControlMessageSchema>["kind"]>): void {
    if (!this.#closed) this.#send(create(ControlMessageSchema, { ask, kind }));
  }
}
