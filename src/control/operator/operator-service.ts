/**
 * What people's shells ask: `OperatorService`. Whoever asks shows a token and is told only what it allows; changes to agents are
 * written to the log with the name of who made them.
 */
import { create } from "@bufbuild/protobuf";
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { messageOf } from "../../lib/errors.ts";
import {
  type AskAnswer,
  AskAnswerSchema,
  type AskRequest,
  type Control,
  type GetControlRequest,
  type GetMeshRequest,
  type MeshPart,
  MeshPartSchema,
} from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { resourceTypes } from "../../xds/resources/resource-types.ts";
import { bearerToken } from "../access/bearer-token.ts";
import type { CallGate } from "../access/call-gate.ts";
import type { OperatorAction, OperatorAuthenticator } from "../access/operator-authenticator.ts";
import type { ResourceStore } from "../discovery/resource-store.ts";
import { encodeResponse } from "../discovery/response-codec.ts";
import { endCall, ending } from "../grpc-call.ts";
import type { Ask } from "../inspection/agent-stream.ts";
import type { FanOut } from "../inspection/fan-out.ts";

export interface OperatorServiceDeps {
  readonly operators: OperatorAuthenticator;
  readonly fanOut: FanOut;
  readonly store: ResourceStore;
  readonly control: () => Control;
  readonly now: () => number;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface OperatorServiceOptions {
  /** How long a node may take when the caller does not say, milliseconds, and the longest that a caller may say. */
  readonly timeoutMs: number;
  readonly longestTimeoutMs: number;
  /** Of one message of the state of the mesh. */
  readonly chunkBytes: number;
}

export const operatorDefaults: OperatorServiceOptions = {
  timeoutMs: 5000,
  longestTimeoutMs: 300_000,
  chunkBytes: 256 * 1024,
};

type AskCase = NonNullable<Ask["case"]>;

/** What each ask takes; one that is added must say it here. `undefined`: what the numbers of asks are for, and is nobody's to send. */
const actions: Readonly<Record<AskCase, OperatorAction | undefined>> = {
  tap: "inspect",
  listFlows: "inspect",
  listTunnels: "inspect",
  listCertificates: "inspect",
  listWorkloads: "inspect",
  listPods: "inspect",
  listTraffic: "inspect",
  listSockets: "inspect",
  getConfig: "inspect",
  getStatus: "inspect",
  getLogLevel: "inspect",
  setLogLevel: "manage-agents",
  closeFlows: "manage-agents",
  cutConnections: "manage-agents",
  cancel: undefined,
  more: undefined,
};

/** Settings first, as on a discovery stream; local pods are each node's own business. */
const meshTypes = ["settings", "policy", "address"] as const;

export class OperatorService {
  readonly #deps: OperatorServiceDeps;
  readonly #options: OperatorServiceOptions;
  readonly #streams = new Set<AbortController>();

  constructor(deps: OperatorServiceDeps, options: OperatorServiceOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Ends what is being told now; callers see that the answer is not whole. May be called twice. */
  stop(): void {
    for (const stream of this.#streams) stream.abort(new Error("the control plane stops"));
  }

  /** What an ask takes stands in it: it is read for whoever may anything that asks take, and judged then. */
  readonly gate: CallGate = async ({ method, metadata, peer }) => {
    if (method === "Ask" && (await this.#may(metadata, "manage-agents"))) return undefined;
    return await this.#authorize(metadata, peer, "inspect", method);
  };

  readonly ask: handleServerStreamingCall<AskRequest, AskAnswer> = (call) => {
    const { ask, nodes, timeout, follow } = call.request;
    const kind: Ask = ask?.kind ?? { case: undefined };
    const action = kind.case === undefined ? undefined : actions[kind.case];
    if (action === undefined) return endCall(call, status.INVALID_ARGUMENT, "nothing is asked that this control knows");
    const timeoutMs = Math.min(timeout === 0 ? this.#options.timeoutMs : timeout, this.#options.longestTimeoutMs);
    const answers = async function* (this: OperatorService, signal: AbortSignal): AsyncGenerator<AskAnswer> {
      for await (const answer of this.#deps.fanOut.ask({ ask: kind, nodes, timeoutMs, follow }, signal)) {
        yield create(AskAnswerSchema, answer);
      }
    };
    this.#stream(call, action, kind.case ?? "", (signal) => answers.call(this, signal));
  };

  readonly getMesh: handleServerStreamingCall<GetMeshRequest, MeshPart> = (call) =>
    this.#stream(call, "inspect", "mesh", () => this.#mesh());

  readonly getControl: handleUnaryCall<GetControlRequest, Control> = (call, callback) => {
    void this.#control(call.metadata, call.getPeer(), callback);
  };

  async #control(metadata: Metadata, peer: string, callback: sendUnaryData<Control>): Promise<void> {
    try {
      const refusal = await this.#authorize(metadata, peer, "inspect", "control");
      if (refusal === undefined) callback(null, this.#deps.control());
      else callback(refusal);
    } catch (error) {
      this.#deps.log.warn({ peer, what: "control", error }, `an operator cannot be answered: ${messageOf(error)}`);
      callback(ending(status.INTERNAL, messageOf(error)));
    }
  }

  #stream<T>(
    call: ServerWritableStream<unknown, T>,
    action: OperatorAction,
    what: string,
    answers: (signal: AbortSignal) => AsyncIterable<T>,
  ): void {
    const { log } = this.#deps;
    const peer = call.getPeer();
    const leaving = new AbortController();
    this.#streams.add(leaving);
    const gone = () => leaving.abort(new Error("the caller went away"));
    call.on("cancelled", gone).on("error", gone).on("close", gone);
    const serve = async () => {
      const refusal = await this.#authorize(call.metadata, peer, action, what);
      if (refusal !== undefined) return endCall(call, refusal.code, refusal.details);
      for await (const answer of answers(leaving.signal)) {
        if (leaving.signal.aborted) break;
        if (!call.write(answer)) await drained(call, leaving.signal);
      }
      if (call.cancelled) return;
      if (leaving.signal.aborted) endCall(call, status.UNAVAILABLE, messageOf(leaving.signal.reason));
      else call.end();
    };
    serve()
      .catch((error: unknown) => {
        log.warn({ peer, what, error }, `an operator cannot be answered: ${messageOf(error)}`);
        endCall(call, status.INTERNAL, messageOf(error));
      })
      .finally(() => this.#streams.delete(leaving));
  }

  async #authorize(
    metadata: Metadata,
    peer: string,
    action: OperatorAction,
    what: string,
  ): Promise<Pick<ServiceError, "code" | "details"> | undefined> {
    const { operators, log } = this.#deps;
    const token = bearerToken(metadata);
    const caller = await operators.authorize(token, action);
    if ("refused" in caller) {
      log.warn({ peer, what }, `an operator was refused: ${caller.refused}`);
      return token === ""
        ? { code: status.UNAUTHENTICATED, details: "no token was shown" }
        : { code: status.PERMISSION_DENIED, details: `this token does not allow ${action}` };
    }
    if (action !== "inspect") log.info({ operator: caller.name, peer, what }, "an operator changes agents");
    return undefined;
  }

  async #may(metadata: Metadata, action: OperatorAction): Promise<boolean> {
    return !("refused" in (await this.#deps.operators.authorize(bearerToken(metadata), action)));
  }

  async *#mesh(): AsyncGenerator<MeshPart> {
    const { store, now } = this.#deps;
    for (const type of meshTypes) {
      let frames: Uint8Array[] = [];
      let bytes = 0;
      const part = (more: boolean) =>
        create(MeshPartSchema, {
          response: encodeResponse({
            typeUrl: resourceTypes[type],
            nonce: "",
            version: new Date(now()).toISOString(),
            removed: [],
            frames,
            more,
          }),
        });
      for (const { frame } of store.all(type).values()) {
        frames.push(frame);
        bytes += frame.length;
        if (bytes < this.#options.chunkBytes) continue;
        yield part(true);
        frames = [];
        bytes = 0;
      }
      yield part(false);
    }
  }
}

/** Resolves when there is room for more, or nobody to send it to. */
async function drained(call: ServerWritableStream<unknown, unknown>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = () => resolve();
  call.once("drain", done);
  signal.addEventListener("abort", done, { once: true });
  await promise;
  call.off("drain", done);
  signal.removeEventListener("abort", done);
}
