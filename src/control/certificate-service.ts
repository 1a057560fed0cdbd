/**
 * Answers `istio.v1.auth.IstioCertificateService/CreateCertificate`: which node is calling, may it have this identity, is the request
 * in order, and only then the authority signs. The caller learns a status and a number; the reason stands in our log under
 * that number, because whoever may not have a certificate should not learn what exists.
 */
import { create } from "@bufbuild/protobuf";
import { type handleUnaryCall, type ServerUnaryCall, status } from "@grpc/grpc-js";
import { serialText } from "../identity/certificate.ts";
import { asIdentity, formatIdentity, trustDomainOf } from "../identity/spiffe.ts";
import { MeshError, messageOf } from "../lib/errors.ts";
import { type Identity, identityParts } from "../model/identity.ts";
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from "../xds/gen/istio/v1/auth/ca_pb.ts";
import { bearerToken } from "./access/bearer-token.ts";
import type { CallGate } from "./access/call-gate.ts";
import type { NodeAuthenticator } from "./access/node-authenticator.ts";
import type { PodDirectory } from "./access/pod-directory.ts";
import type { Authority, IssuedLeaf } from "./authority/authority.ts";
import { readSigningRequest } from "./authority/signing-request.ts";
import { type Ending, ending } from "./grpc-call.ts";
import type { CertificateOutcome } from "./metrics.ts";

export interface CertificateServiceDeps {
  readonly authority: Pick<Authority, "issue">;
  readonly nodes: NodeAuthenticator;
  readonly pods: PodDirectory;
  readonly metrics: { certificateRequest(outcome: CertificateOutcome, seconds: number): void };
  readonly log: ServiceLog;
}

export interface ServiceLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface CertificateServiceOptions {
  readonly trustDomain: string;
  /** Signed for too: while a mesh moves to another name, replicas of control and agents come to it one after the other. */
  readonly trustDomainAliases: readonly string[];
  /** Requests answered at once; more are turned away and come back with backoff. */
  readonly concurrency: number;
}

/** Where Istio's agents put the identity of the pod they ask for. */
const wantedIdentity = "ImpersonatedIdentity";

const grpcStatus: Readonly<Record<Exclude<CertificateOutcome, "issued">, readonly [status, string]>> = {
  unauthenticated: [status.UNAUTHENTICATED, "not authenticated"],
  denied: [status.PERMISSION_DENIED, "not allowed"],
  invalid: [status.INVALID_ARGUMENT, "not a request that can be signed"],
  overloaded: [status.RESOURCE_EXHAUSTED, "too many requests at once"],
  failed: [status.INTERNAL, "internal error"],
};

interface Refused {
  readonly outcome: Exclude<CertificateOutcome, "issued">;
  readonly reason: string;
  readonly fields: object;
}
type Result =
  | { readonly outcome: "issued"; readonly leaf: IssuedLeaf; readonly identity: Identity; readonly node: string }
  | Refused;

/** A request as the log knows it. */
interface Mark {
  readonly request: number;
  readonly peer: string;
}

/** An error is thrown by nobody below here; what a caller could cause is a `Result`. */
export class CertificateService {
  readonly #deps: CertificateServiceDeps;
  readonly #options: CertificateServiceOptions;
  #inFlight = 0;
  #number = 0;

  constructor(deps: CertificateServiceDeps, options: CertificateServiceOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  readonly gate: CallGate = async ({ metadata, peer }) => {
    const began = performance.now();
    const caller = await this.#deps.nodes.authenticate(bearerToken(metadata));
    if (!("refused" in caller)) return undefined;
    const mark = { request: ++this.#number, peer };
    return this.#refuse(mark, began, { outcome: "unauthenticated", reason: caller.refused, fields: {} });
  };

  readonly createCertificate: handleUnaryCall<IstioCertificateRequest, IstioCertificateResponse> = (call, answer) => {
    const mark = { request: ++this.#number, peer: call.getPeer() };
    const began = performance.now();
    const { metrics, log } = this.#deps;
    const tell = (result: Result) => {
      if (result.outcome !== "issued") return answer(this.#refuse(mark, began, result));
      metrics.certificateRequest(result.outcome, (performance.now() - began) / 1000);
      const { leaf, identity, node } = result;
      const until = new Date(leaf.notAfter).toISOString();
      log.info({ ...mark, node, identity, serial: serialText(leaf.serial), notAfter: until }, "certificate issued");
      return answer(null, create(IstioCertificateResponseSchema, { certChain: [...leaf.chain] }));
    };
    this.#judge(call)
      .then(tell)
      .catch((error: unknown) => {
        log.error({ ...mark, error }, `a certificate request cannot be answered: ${messageOf(error)}`);
        answer(ending(status.INTERNAL, `internal error (request ${mark.request})`));
      });
  };

  #refuse(mark: Mark, began: number, { outcome, reason, fields }: Refused): Ending {
    const { metrics, log } = this.#deps;
    metrics.certificateRequest(outcome, (performance.now() - began) / 1000);
    const level = outcome === "failed" ? "error" : "warn";
    log[level]({ ...mark, ...fields, outcome }, `certificate refused: ${reason}`);
    const [code, text] = grpcStatus[outcome];
    return ending(code, `${text} (request ${mark.request})`);
  }

  async #judge(call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>): Promise<Result> {
    if (this.#inFlight >= this.#options.concurrency) {
      return { outcome: "overloaded", reason: `${this.#inFlight} requests are being answered`, fields: {} };
    }
    this.#inFlight++;
    try {
      return await this.#issue(call);
    } catch (error) {
      return { outcome: "failed", reason: messageOf(error), fields: { error } };
    } finally {
      this.#inFlight--;
    }
  }

  async #issue(call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>): Promise<Result> {
    const { nodes, pods, authority } = this.#deps;
    const caller = await nodes.authenticate(bearerToken(call.metadata));
    if ("refused" in caller) return { outcome: "unauthenticated", reason: caller.refused, fields: {} };
    const { node } = caller;
    const wanted = call.request.metadata?.[wantedIdentity];
    const identity = typeof wanted === "string" ? asIdentity(wanted) : undefined;
    if (identity === undefined) {
      const what =
        wanted === undefined
          ? `names no ${wantedIdentity}`
          : `asks for ${shortened(wanted)}, not a workload's SPIFFE id`;
      return { outcome: "invalid", reason: `the request ${what}`, fields: { node } };
    }
    const fields = { node, identity };
    const { trustDomain, trustDomainAliases } = this.#options;
    if (![trustDomain, ...trustDomainAliases].includes(trustDomainOf(identity))) {
      const domains = [trustDomain, ...trustDomainAliases].join(", ");
      return { outcome: "denied", reason: `this authority signs for ${domains} only`, fields };
    }
    const own = formatIdentity({ ...identityParts(identity), trustDomain });
    if (!(await pods.hasEnrolledPod(node, own))) {
      return { outcome: "denied", reason: "no enrolled pod of that node has this service account", fields };
    }
    try {
      const publicKey = await readSigningRequest(call.request.csr);
      const leaf = await authority.issue(identity, publicKey, Number(call.request.validityDuration) * 1000);
      return { outcome: "issued", leaf, identity, node };
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      if (error.code === "MESH_IDENTITY_DENIED") return { outcome: "denied", reason: error.message, fields };
      if (error.code !== "MESH_REQUEST_INVALID") throw error;
      return { outcome: "invalid", reason: error.message, fields };
    }
  }
}

/** A stranger's text in our log: bounded, and quoted so that it cannot look like something else. */
function shortened(text: unknown): string {
  return JSON.stringify(text).slice(0, 200);
}
