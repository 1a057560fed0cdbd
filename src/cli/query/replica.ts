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
}

/** Control is asked over loopback, a port-forward or a cluster's network: what is not connected by then won't be. */
const connectMs = 10_000;

/** The messages of a server's stream; read one at a time, so that a slow terminal holds up control and not our memory. */
export async function* streamOf<I, O>(
  { target, client }: Replica,
  method: MethodDefinition<I, O>,
  request: I,
  signal: AbortSignal,
): AsyncGenerator<O, void, undefined> {
  signal.throwIfAborted();
  await connected(client, target, signal);
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
  { target, client }: Replica,
  method: MethodDefinition<I, O>,
  request: I,
  signal: AbortSignal,
): Promise<O> {
  signal.throwIfAborted();
  await connected(client, target, signal);
  try {
    return await callControl(client, method, { request, metadata: bearer(target.token) }, signal);
  } catch (error) {
    throw explain(error, target);
  }
}

/** A call on a channel that can't connect would fail only after gRPC's own, much longer patience. */
async function connected(client: Client, target: OperatorTarget, signal: AbortSignal): Promise<void> {
  const channel = client.getChannel();
  const deadline = Date.now() + connectMs;
  for (;;) {
    signal.throwIfAborted();
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return;
    if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN)
      throw unreachable(target);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    channel.watchConnectivityState(state, deadline, (error) => (error === undefined ? resolve() : reject(error)));
    try {
      await promise;
    } catch (error) {
      throw unreachable(target, error);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** Control can't be asked now: it restarts, or the way to it is broken. Who watches asks again. */
export function isAway(error: unknown): error is MeshError {
  return error instanceof MeshError && error.code === "MESH_UNREACHABLE_CONTROL";
}

function unreachable({ address }: OperatorTarget, cause?: unknown): MeshError {
  const what = "it may not run, or its certificate does not lead to the root that was given";
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
