/**
 * What people's shells ask and change of the authority: `warren.authority.v1.AuthorityService`. Who asks shows a token as for the
 * operators' service; every change is written to the log with the name of who made it.
 */
import { isDeepStrictEqual } from "node:util";
import { create } from "@bufbuild/protobuf";
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { asIdentity } from "../../identity/spiffe.ts";
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { Identity } from "../../model/identity.ts";
import {
  type GetStatusRequest,
  type GetStatusResponse,
  GetStatusResponseSchema,
  type RestoreRequest,
  type RestoreResponse,
  RestoreResponseSchema,
  type RevokeRequest,
  type RevokeResponse,
  RevokeResponseSchema,
  type RotateIntermediateRequest,
  type RotateIntermediateResponse,
  RotateIntermediateResponseSchema,
  type RotateRootRequest,
  type RotateRootResponse,
  RotateRootResponseSchema,
  type Status,
  type WatchStatusRequest,
  type WatchStatusResponse,
  WatchStatusResponseSchema,
} from "../../xds/gen/warren/authority/v1/authority_pb.ts";
import { bearerToken } from "../access/bearer-token.ts";
import type { CallGate } from "../access/call-gate.ts";
import type { OperatorAction, OperatorAuthenticator } from "../access/operator-authenticator.ts";
import { endCall, ending } from "../grpc-call.ts";
import type { AgentCensus } from "./agent-census.ts";
import type { Authority } from "./authority.ts";
import { authorityStatus, type StatusSources } from "./authority-status.ts";
import { normalSerial, signsLists, withDenied, withoutDenied, withRevoked } from "./revocations.ts";
import { excuse } from "./root-rotation.ts";
import type { RotationDriver } from "./rotation-driver.ts";
import type { RotationStart } from "./rotation-start.ts";
import { readSigner } from "./signer.ts";

export interface AuthorityServiceDeps extends Omit<StatusSources, "authority" | "rotation" | "begins"> {
  readonly authority: Pick<
    Authority,
    "state" | "settings" | "roots" | "renewalDue" | "change" | "onChange" | "renewIntermediate"
  >;
  readonly begins: Pick<RotationStart, "begin" | "due">;
  readonly rotation: Pick<RotationDriver, "waiting" | "onChange">;
  readonly agents: AgentCensus;
  /** Nodes with a pod of this identity. */
  readonly nodesOf: (identity: Identity) => readonly string[];
  readonly operators: OperatorAuthenticator;
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

/** For one agent's answer about the certificates of an identity, milliseconds. */
const answerMs = 5000;

const looks: ReadonlySet<string> = new Set(["GetStatus", "WatchStatus"]);

/** What a caller could have known better. */
class Refused extends Error {
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.name = "Refused";
    this.code = code;
  }
}

export class AuthorityService {
  readonly #deps: AuthorityServiceDeps;
  readonly #watchers = new Set<() => void>();

  constructor(deps: AuthorityServiceDeps) {
    this.#deps = deps;
  }

  /** Ends what is being watched. May be called twice. */
  stop(): void {
    for (const end of this.#watchers) end();
  }

  readonly gate: CallGate = async ({ method, metadata, peer }) => {
    const caller = await this.#authorize(metadata, peer, looks.has(method) ? "inspect" : "manage-authority");
    return "code" in caller ? caller : undefined;
  };

  readonly getStatus: handleUnaryCall<GetStatusRequest, GetStatusResponse> = (call, answer) =>
    this.#answer(call, answer, "inspect", () =>
      Promise.resolve(create(GetStatusResponseSchema, { status: this.#status() })),
    );

  readonly rotateIntermediate: handleUnaryCall<RotateIntermediateRequest, RotateIntermediateResponse> = (
    call,
    answer,
  ) =>
    this.#answer(call, answer, "manage-authority", async (operator) => {
      const { authority, log } = this.#deps;
      if (authority.state.issuer.origin === "plug-in") throw fromPlugIn("the intermediate");
      const before = authority.state.issuer.intermediate.certificate;
      await authority.renewIntermediate();
      if (authority.state.issuer.intermediate.certificate === before)
        throw new Refused(status.UNAVAILABLE, "the intermediate could not be renewed; the log of control says why");
      log.info({ operator }, "an operator rotated the intermediate");
      return create(RotateIntermediateResponseSchema, { status: this.#status() });
    });

  readonly rotateRoot: handleUnaryCall<RotateRootRequest, RotateRootResponse> = (call, answer) =>
    this.#answer(call, answer, "manage-authority", async (operator) => {
      const { force, nodes } = call.request;
      if (force) await this.#excuse(nodes, operator);
      else await this.#begin(operator);
      return create(RotateRootResponseSchema, { status: this.#status() });
    });

  readonly revoke: handleUnaryCall<RevokeRequest, RevokeResponse> = (call, answer) =>
    this.#answer(call, answer, "manage-authority", (operator) => this.#revoke(call.request, operator));

  readonly restore: handleUnaryCall<RestoreRequest, RestoreResponse> = (call, answer) =>
    this.#answer(call, answer, "manage-authority", async (operator) => {
      const identities = call.request.identities.map(identityOf);
      const { authority, log } = this.#deps;
      await authority.change((state) => withoutDenied(state, identities));
      log.info({ operator, identities }, "an operator restored identities");
      return create(RestoreResponseSchema, { status: this.#status() });
    });

  readonly watchStatus: handleServerStreamingCall<WatchStatusRequest, WatchStatusResponse> = (call) => {
    const { authority, rotation } = this.#deps;
    let told: Status | undefined;
    let forget: (() => void)[] = [];
    const peer = call.getPeer();
    const end = (code: status, details: string) => {
      leave();
      endCall(call, code, details);
    };
    const failed = (error: unknown) => {
      this.#deps.log.warn({ peer, error }, `the authority's status cannot be told: ${messageOf(error)}`);
      end(status.INTERNAL, messageOf(error));
    };
    const stopped = () => end(status.UNAVAILABLE, "the control plane stops");
    const leave = () => {
      this.#watchers.delete(stopped);
      for (const stop of forget.splice(0)) stop();
    };
    const tell = () => {
      // A reader that is slow misses what was in between, not what is.
      if (call.writableNeedDrain) return;
      try {
        const now = this.#status();
        if (told !== undefined && isDeepStrictEqual(now, told)) return;
        told = now;
        call.write(create(WatchStatusResponseSchema, { status: now }));
      } catch (error) {
        failed(error);
      }
    };
    call.on("cancelled", leave).on("error", leave).on("close", leave).on("drain", tell);
    const watch = async () => {
      const caller = await this.#authorize(call.metadata, peer, "inspect");
      if (call.cancelled) return;
      if ("code" in caller) return end(caller.code, caller.details);
      this.#watchers.add(stopped);
      forget = [authority.onChange(tell), rotation.onChange(tell)];
      tell();
    };
    watch().catch(failed);
  };

  #status(): Status {
    return authorityStatus(this.#deps);
  }

  async #begin(operator: string): Promise<void> {
    const { authority, begins, log } = this.#deps;
    if (authority.state.rotation !== undefined) return;
    if (this.#deps.plugIn() !== undefined) throw fromPlugIn("the root");
    // Another replica may have been quicker; then theirs goes on.
    if (await begins.begin()) log.info({ operator }, "rotation of the root: agents are told of the new one");
  }

  async #excuse(nodes: readonly string[], operator: string): Promise<void> {
    const { authority, rotation, log } = this.#deps;
    const waitingFor = rotation.waiting?.waitingFor;
    if (waitingFor === undefined)
      throw new Refused(status.FAILED_PRECONDITION, "no rotation of the root is under way: there is nothing to force");
    const strangers = nodes.filter((node) => !waitingFor.includes(node));
    if (strangers.length > 0)
      throw new Refused(status.INVALID_ARGUMENT, `the rotation does not wait for ${strangers.join(", ")}`);
    const excused = nodes.length > 0 ? nodes : waitingFor;
    await authority.change((state) => excuse(state, excused));
    log.warn({ operator, nodes: excused }, "rotation of the root: an operator goes on without these nodes");
  }

  async #revoke({ serials, identities }: RevokeRequest, operator: string): Promise<RevokeResponse> {
    const { authority, clock, log } = this.#deps;
    if (serials.length + identities.length === 0)
      throw new Refused(status.INVALID_ARGUMENT, "nothing is named: a serial number or an identity");
    const named = serials.map(serialOf);
    const denied = identities.map(identityOf);
    this.#mustNotBeInUse(named);
    // Denied first: what an agent fetches while it is asked would be missed.
    await authority.change((state) => withDenied(state, denied, clock.now()));
    const { found, unasked } = await this.#serialsOf(denied);
    const listed = [...new Set([...named, ...found])];
    if (listed.length > 0 && (named.length > 0 || this.#canList())) {
      if (!this.#canList())
        throw new Refused(
          status.FAILED_PRECONDITION,
          "the authority's certificate may not sign revocation lists (key usage cRLSign); revoke the identity instead",
        );
      await authority.change((state) => withRevoked(state, listed, clock.now()));
    }
    log.warn({ operator, identities: denied, serials: listed, unasked }, "an operator revoked");
    return create(RevokeResponseSchema, { serials: listed, unaskedNodes: unasked, status: this.#status() });
  }

  /** Revoking what issues would refuse everybody, and nothing could be issued to put it right. */
  #mustNotBeInUse(serials: readonly string[]): void {
    const { issuer, rotation } = this.#deps.authority.state;
    for (const { intermediate } of [issuer, ...(rotation === undefined ? [] : [rotation.other])]) {
      const own = normalSerial(readSigner(intermediate, "intermediate").certificate.serialNumber);
      if (own === undefined || !serials.includes(own)) continue;
      const first = "put another in place first: warren ca rotate --intermediate";
      throw new Refused(status.FAILED_PRECONDITION, `${own} is the intermediate that issues; ${first}`);
    }
  }

  #canList(): boolean {
    return signsLists(readSigner(this.#deps.authority.state.issuer.intermediate, "intermediate").certificate);
  }

  async #serialsOf(identities: readonly Identity[]): Promise<{ found: string[]; unasked: string[] }> {
    const { agents, nodesOf } = this.#deps;
    const found: string[] = [];
    const unasked = new Set<string>();
    const asks = identities.flatMap((identity) => nodesOf(identity).map((node) => ({ identity, node })));
    await Promise.all(
      asks.map(async ({ identity, node }) => {
        const held = await agents.certificates(node, identity, AbortSignal.timeout(answerMs)).catch(() => undefined);
        if (held === undefined) unasked.add(node);
        for (const { serial } of held ?? []) found.push(normalSerial(serial) ?? "");
      }),
    );
    return { found: found.filter((serial) => serial !== ""), unasked: [...unasked].sort() };
  }

  #answer<Request, Response>(
    call: Parameters<handleUnaryCall<Request, Response>>[0],
    answer: Parameters<handleUnaryCall<Request, Response>>[1],
    action: OperatorAction,
    work: (operator: string) => Promise<Response>,
  ): void {
    const peer = call.getPeer();
    const serve = async () => {
      const caller = await this.#authorize(call.metadata, peer, action);
      return "code" in caller ? answer(caller) : answer(null, await work(caller.name));
    };
    serve().catch((error: unknown) => {
      const code = codeOf(error);
      if (code === status.INTERNAL) {
        this.#deps.log.warn({ peer, action, error }, `an operator cannot be answered: ${messageOf(error)}`);
      }
      answer(ending(code, messageOf(error)));
    });
  }

  async #authorize(
    metadata: Metadata,
    peer: string,
    action: OperatorAction,
  ): Promise<{ readonly name: string } | Pick<ServiceError, "code" | "details">> {
    const { operators, log } = this.#deps;
    const token = bearerToken(metadata);
    const caller = await operators.authorize(token, action);
    if (!("refused" in caller)) return caller;
    log.warn({ peer, action }, `an operator was refused: ${caller.refused}`);
    return token === ""
      ? { code: status.UNAUTHENTICATED, details: "no token was shown" }
      : { code: status.PERMISSION_DENIED, details: `this token does not allow ${action}` };
  }
}

function fromPlugIn(what: string): Refused {
  const how = "replace the files there, and they are put in force step by step";
  return new Refused(status.FAILED_PRECONDITION, `${what} comes from plug-in certificates: ${how}`);
}

function serialOf(text: string): string {
  const serial = normalSerial(text);
  if (serial !== undefined) return serial;
  throw new Refused(
    status.INVALID_ARGUMENT,
    `${JSON.stringify(text.slice(0, 100))} is no serial number in hexadecimal`,
  );
}

function identityOf(text: string): Identity {
  const identity = asIdentity(text);
  if (identity !== undefined) return identity;
  const form = "spiffe://trust-domain/ns/namespace/sa/account";
  throw new Refused(status.INVALID_ARGUMENT, `${JSON.stringify(text.slice(0, 300))} is no SPIFFE id: write ${form}`);
}

function codeOf(error: unknown): status {
  if (error instanceof Refused) return error.code;
  return error instanceof MeshError && error.code === "MESH_AUTHORITY_BUSY" ? status.ABORTED : status.INTERNAL;
}
