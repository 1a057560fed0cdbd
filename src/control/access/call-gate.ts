/**
 * Judges a call by its headers before a byte of its message is read. gRPC reads the one request of a call before it calls us: without a
 * gate, whoever reaches the port could make us hold as much as the largest message of an agent, once for each stream. Behind it a stranger
 * has the flow-control window of HTTP/2 for each stream, 64 KiB, and as much that Node buffers, until it is refused.
 */
import {
  type Metadata,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from "@grpc/grpc-js";
import { messageOf } from "../../lib/errors.ts";
import { type Ending, ending } from "../grpc-call.ts";

export interface Arrival {
  /** The name of the method, without its service. */
  readonly method: string;
  readonly metadata: Metadata;
  /** For logs. */
  readonly peer: string;
}

/** Resolves to how the call ends unread, or to undefined when its message may be read. It says in the log whom it refused, and why. */
export type CallGate = (arrival: Arrival) => Promise<Ending | undefined>;

export interface CallGatesDeps {
  /** By path, `/package.Service/Method`. */
  readonly gates: ReadonlyMap<string, CallGate>;
  readonly log: { warn(fields: object, message: string): void };
}

export function callGates({ gates, log }: CallGatesDeps): ServerInterceptor {
  const judge = async (gate: CallGate, arrival: Arrival): Promise<Ending | undefined> => {
    try {
      return await gate(arrival);
    } catch (error) {
      log.warn({ peer: arrival.peer, error }, `a caller cannot be judged: ${messageOf(error)}`);
      return ending(status.INTERNAL, "the caller cannot be judged now");
    }
  };
  return ({ path }, call) => {
    const gate = gates.get(path);
    if (gate === undefined) return new ServerInterceptingCall(call);
    const method = path.slice(path.lastIndexOf("/") + 1);
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, proceed) => {
        void judge(gate, { method, metadata, peer: call.getPeer() }).then((refusal) => {
          if (refusal === undefined) proceed(metadata);
          else call.sendStatus(refusal);
        });
      })
      .build();
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };
}
