/** One replica of control as the verbs call it: streams as loops, errors with what to check next. */
import {
  type Client,
  type ClientReadableStream,
  connectivityState,
  type MethodDefinition,
  status,
} from "@grpc/grpc-js";
import { MeshError } from "../../lib/errors.ts";
import { bearer, callControl, isServiceError } from "../../xds/control-client.ts";
import type { OperatorTarget } from "../../xds/operator-target.ts";

export interface Replica {
  readonly target: OperatorTarget;
  readonly client: Client;
  readonly connecting: Connecting;
}

/** A replica that hangs is waited for once, not by each question. */
export interface Connecting {
  readonly patienceMs: number;
  /** Unix time in milliseconds, set by the first that waits; undefined once that ended one way or the other. */
  deadline: number | undefined;
}

/** The messages of a server's stream; read one at a time, so that a slow terminal holds up control and not our memory. */
export async function* streamOf<I, O>(
  replica: Replica,
  method: MethodDefinition<I, O>,
  request: I,
  signal: AbortSignal,
): AsyncGenerator<O, void, undefined> {
  signal.throwIfAborted();
  const { target, client } = replica;
  await connected(replica, signal);
  const stream: ClientReadableStream<O> = client.makeServerStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
    bearer(target.token),
  );
  const cancel = () => stream.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    for await (const message of stream as AsyncIterable<O>) yield message;
  } catch (error) {
    signal.throwIfAborted();
    throw explain(error, target);
  } finally {
    signal.removeEventListener("abort", cancel);
    stream.cancel();
  }
}

export async function callUnary<I, O>(
  replica: Replica,
  method: MethodDefinition<I, O>,
  request: I,
  signal: AbortSignal,
): Promise<O> {
  signal.throwIfAborted();
  const { target, client } = replica;
  await connected(replica, signal);
  try {
    return await callControl(client, method, { request, metadata: bearer(target.token) }, signal);
  } catch (error) {
    throw explain(error, target);
  }
}

/** A call on a channel that can't connect would fail only after gRPC's own, much longer patience. */
async function connected({ client, target, connecting }: Replica, signal: AbortSignal): Promise<void> {
  const channel = client.getChannel();
  const { patienceMs } = connecting;
  for (;;) {
    signal.throwIfAborted();
    const state = channel.getConnectivityState(true);
    const waiting = state === connectivityState.IDLE || state === connectivityState.CONNECTING;
    connecting.deadline = waiting ? (connecting.deadline ?? Date.now() + patienceMs) : undefined;
    const { deadline } = connecting;
    if (state === connectivityState.READY) return;
    if (deadline === undefined) throw unreachable(target);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    channel.watchConnectivityState(state, deadline, (error) => (error === undefined ? resolve() : reject(error)));
    try {
      await promise;
    } catch (error) {
      throw unreachable(
        target,
        error,
        `it took no connection within ${patienceMs} ms: it hangs, or the way to it does`,
      );
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** Control can't be asked now: it restarts, or the way to it is broken. Who watches asks again. */
export function isAway(error: unknown): error is MeshError {
  return error instanceof MeshError && error.code === "MESH_UNREACHABLE_CONTROL";
}

function unreachable(
  { address }: OperatorTarget,
  cause?: unknown,
  what = "it may not run, or its certificate does not lead to the root that was given",
): MeshError {
  return new MeshError("MESH_UNREACHABLE_CONTROL", `the control plane at ${address} cannot be reached: ${what}`, {
    cause,
  });
}

function explain(error: unknown, target: OperatorTarget): unknown {
  if (!isServiceError(error)) return error;
  const { address } = target;
  const explanations = new Map<number, readonly [`MESH_${string}`, string]>([
    [status.UNAUTHENTICATED, ["MESH_UNREACHABLE_REFUSED", `refuses: ${error.details}`]],
    [status.PERMISSION_DENIED, ["MESH_UNREACHABLE_REFUSED", `refuses: ${error.details}`]],
    [status.FAILED_PRECONDITION, ["MESH_REFUSED", `refuses: ${error.details}`]],
    [status.INVALID_ARGUMENT, ["MESH_CONFIG_ASK", `says: ${error.details}`]],
    [status.UNIMPLEMENTED, ["MESH_UNREACHABLE_OLD", "is older and does not know this question"]],
  ]);
  const [code, what] = explanations.get(error.code) ?? [];
  if (code === undefined) return unreachable(target, error);
  return new MeshError(code, `the control plane at ${address} ${what}`, { cause: error });
}
