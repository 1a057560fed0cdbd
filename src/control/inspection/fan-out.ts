/**
 * Asks many agents the same thing at once and merges what they say as it comes. Every node that was asked ends with one `end` or one
 * `failure`, so that whoever reads can tell a complete answer from a partial one. Memory is bounded by the agents' windows and a small
 * channel: a slow reader slows the agents down.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Channel } from "../../lib/channel.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { AgentMessage } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { type AskAnswerSchema, Failure_Kind } from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { wireTime } from "../../xds/wire-time.ts";
import type { AgentRegistry } from "./agent-registry.ts";
import { AgentLost, type AgentStream, type Ask } from "./agent-stream.ts";

export type FanOutAnswer = MessageInitShape<typeof AskAnswerSchema>;

export interface FanOutDeps {
  readonly agents: AgentRegistry;
  readonly clock: Clock;
}

export interface FanOutRequest {
  readonly ask: Ask;
  /** Empty: all. */
  readonly nodes: readonly string[];
  /** Milliseconds to a node's next message. */
  readonly timeoutMs: number;
  /** Until aborted: agents that come later are asked too, and those that come back again. */
  readonly follow: boolean;
}

/** Messages that wait for the reader, of all nodes together. */
const channelSize = 16;

export class FanOut {
  readonly #deps: FanOutDeps;

  constructor(deps: FanOutDeps) {
    this.#deps = deps;
  }

  async *ask(request: FanOutRequest, signal: AbortSignal): AsyncGenerator<FanOutAnswer, void, undefined> {
    const { agents } = this.#deps;
    const wanted = new Set(request.nodes);
    const nodes = wanted.size === 0 ? agents.nodes() : [...wanted].sort();
    yield { kind: { case: "asked", value: { nodes } } };
    const channel = new Channel<FanOutAnswer>(channelSize);
    const leaving = new AbortController();
    const both = AbortSignal.any([signal, leaving.signal]);
    const running = new Set<string>();
    let waiting = 0;
    const run = (node: string) => {
      running.add(node);
      waiting++;
      void this.#one(node, request, channel, both).then((ended) => {
        waiting--;
        if (!ended) running.delete(node);
        // Its successor may have joined while this one was still being read.
        if (!ended && request.follow && !both.aborted && agents.agentOf(node) !== undefined) run(node);
        else if (waiting === 0 && (!request.follow || running.size >= nodes.length)) channel.close();
      });
    };
    const forget = request.follow
      ? agents.onJoin(({ node }) => {
          if (!running.has(node) && (wanted.size === 0 || wanted.has(node))) run(node);
        })
      : () => {};
    const onAbort = () => channel.close();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (signal.aborted || (nodes.length === 0 && !request.follow)) return;
      for (const node of nodes) run(node);
      yield* channel;
    } finally {
      signal.removeEventListener("abort", onAbort);
      forget();
      leaving.abort();
      channel.close();
    }
  }

  /** Resolves to whether the node said `end`. */
  async #one(
    node: string,
    request: FanOutRequest,
    channel: Channel<FanOutAnswer>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const fail = async (kind: Failure_Kind, message: string) => {
      if (!signal.aborted) await channel.put({ node, kind: { case: "failure", value: { kind, message } } });
      return false;
    };
    const agent = this.#deps.agents.agentOf(node);
    if (agent === undefined) {
      return fail(Failure_Kind.NOT_CONNECTED, `no agent of ${node} is connected; is it running there?`);
    }
    const late = new AbortController();
    try {
      for await (const answer of this.#messages(agent, request, late, signal)) {
        const ended = answer.message.kind.case === "end";
        const { message, askedAt, receivedAt } = answer;
        const taken = await channel.put({
          node,
          kind: { case: "message", value: message },
          askedAt: wireTime(askedAt),
          receivedAt: wireTime(receivedAt),
        });
        if (!taken || ended) return ended;
      }
      return false;
    } catch (error) {
      if (late.signal.aborted) return fail(Failure_Kind.TIMED_OUT, `${node} did not answer in ${request.timeoutMs} ms`);
      if (error instanceof AgentLost) return fail(Failure_Kind.LOST, error.message);
      return fail(Failure_Kind.UNSPECIFIED, messageOf(error));
    }
  }

  /** One agent's messages, each within the time; the time that our reader takes is not the agent's. */
  async *#messages(
    agent: AgentStream,
    { ask, timeoutMs, follow }: FanOutRequest,
    late: AbortController,
    signal: AbortSignal,
  ): AsyncGenerator<{ message: AgentMessage; askedAt: number; receivedAt: number }, void, undefined> {
    const { clock } = this.#deps;
    const messages = agent.ask(ask, AbortSignal.any([signal, late.signal]));
    const askedAt = clock.now();
    try {
      for (;;) {
        const cancel = follow ? () => {} : clock.after(timeoutMs, () => late.abort(new Error("too late")));
        const next = await messages.next().finally(cancel);
        if (next.done === true) return;
        yield { message: next.value, askedAt, receivedAt: clock.now() };
      }
    } finally {
      await messages.return();
    }
  }
}
