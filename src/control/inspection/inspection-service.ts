/**
 * Answers `InspectionService/Inspect`: agents listen for nobody, so each opens this stream and control asks over it. Which node an
 * agent speaks for is proven as for discovery and certificates; what its `hello` says is a claim for logs.
 */
import { type handleBidiStreamingCall, type ServerDuplexStream, status } from "@grpc/grpc-js";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { AgentMessage, ControlMessage } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { bearerToken } from "../access/bearer-token.ts";
import type { NodeAuthenticator } from "../access/node-authenticator.ts";
import { endCall, readMessages } from "../grpc-call.ts";
import type { AgentRegistry } from "./agent-registry.ts";
import { AgentStream } from "./agent-stream.ts";

export interface InspectionServiceDeps {
  readonly nodes: NodeAuthenticator;
  readonly agents: AgentRegistry;
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface InspectionServiceOptions {
  /** A stream is ended after this, milliseconds: its agent comes back and proves again who it is. */
  readonly streamLifetimeMs: number;
}

export const inspectionDefaults: InspectionServiceOptions = { streamLifetimeMs: 6 * 3_600_000 };

type Call = ServerDuplexStream<AgentMessage, ControlMessage>;

export class InspectionService {
  readonly #deps: InspectionServiceDeps;
  readonly #options: InspectionServiceOptions;
  readonly #calls = new Set<Call>();
  #stopped = false;

  constructor(deps: InspectionServiceDeps, options: InspectionServiceOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Ends all streams, so that agents go to another replica or come back later. May be called twice. */
  stop(): void {
    this.#stopped = true;
    for (const call of this.#calls) endCall(call, status.UNAVAILABLE, "the control plane stops");
  }

  readonly inspect: handleBidiStreamingCall<AgentMessage, ControlMessage> = (call) => {
    call.on("error", () => {});
    this.#serve(call).catch((error: unknown) => {
      this.#deps.log.warn({ error }, `an inspection stream cannot be served: ${messageOf(error)}`);
      endCall(call, status.INTERNAL, messageOf(error));
    });
  };

  async #serve(call: Call): Promise<void> {
    const { nodes, agents, clock, log } = this.#deps;
    const peer = call.getPeer();
    const caller = await nodes.authenticate(bearerToken(call.metadata));
    if ("refused" in caller) {
      log.warn({ peer }, `inspection stream refused: ${caller.refused}`);
      return endCall(call, status.UNAUTHENTICATED, "not authenticated");
    }
    if (this.#stopped) return endCall(call, status.UNAVAILABLE, "the control plane stops");
    if (call.cancelled) return;
    const { node } = caller;
    const stream = new AgentStream(
      // Asks are few and small, and each is bounded by its window: what waits in the call has an end.
      { send: (message) => void call.write(message) },
      { node, peer, connectedAt: clock.now() },
    );
    this.#calls.add(call);
    // Streams that began together don't end together.
    const lifetime = this.#options.streamLifetimeMs * (0.9 + Math.random() * 0.2);
    const cancel = clock.after(lifetime, () => endCall(call, status.UNAVAILABLE, "time to reconnect"));
    const gone = () => {
      cancel();
      stream.close();
      agents.remove(stream);
      if (this.#calls.delete(call)) log.info({ node, peer }, "agent's inspection stream is gone");
    };
    call.on("cancelled", gone).on("close", gone).on("error", gone);
    call.on("end", () => {
      gone();
      call.end();
    });
    readMessages(call, {
      take: (message) => this.#take(stream, message),
      failed: (error) => log.warn({ node, peer, error }, `an agent's message failed: ${messageOf(error)}`),
    });
  }

  /** What is wrong with the message, if anything is. */
  #take(stream: AgentStream, message: AgentMessage): string | undefined {
    const { agents, log } = this.#deps;
    const { node, peer, hello: before } = stream;
    const wrong = stream.receive(message);
    if (wrong !== undefined) {
      log.warn({ node, peer }, `an agent's inspection stream is ended: ${wrong}`);
      return wrong;
    }
    const { hello } = stream;
    if (hello === undefined || hello === before) return undefined;
    agents.add(stream);
    log.info({ node, peer, version: hello.version }, "agent can be inspected");
    return undefined;
  }
}
