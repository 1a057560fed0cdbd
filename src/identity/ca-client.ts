/**
 * Asks an authority that speaks Istio's CreateCertificate (Warren's control, istiod, istio-csr) for certificates on behalf of this
 * node's pods. The files it needs, the root to trust and the bearer token, are read anew when they changed: kubelets rotate both.
 */
import { readFile } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { type Client, type ServiceError, status } from "@grpc/grpc-js";
import { MeshError, messageOf } from "../lib/errors.ts";
import {
  bearer,
  type ControlAddress,
  callControl,
  createControlClient,
  isServiceError,
} from "../xds/control-client.ts";
import {
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateService,
} from "../xds/gen/istio/v1/auth/ca_pb.ts";
import { grpcMethod } from "../xds/grpc-service.ts";
import type { CertificateAuthority, CertificateOrder } from "./certificate-store.ts";

export interface CaClientOptions extends ControlAddress {
  /** PEM of the roots that the authority's own certificate must lead to. */
  readonly rootFile: string;
  /** The bearer token that says which node this is; undefined to show none. */
  readonly tokenFile: string | undefined;
  /** Sent as `clusterid`; istiod picks the cluster by it that reviews the token. */
  readonly cluster: string;
  readonly timeoutMs: number;
}

const createCertificate = grpcMethod(IstioCertificateService.method.createCertificate);

/** Peers' answers are a few kilobytes. */
const largestAnswer = 1 << 20;

export class CaClient implements CertificateAuthority {
  readonly #options: CaClientOptions;
  #channel: { readonly root: string; readonly client: Client } | undefined;

  constructor(options: CaClientOptions) {
    this.#options = options;
  }

  async createCertificate(order: CertificateOrder, signal: AbortSignal): Promise<readonly string[]> {
    const { tokenFile, rootFile } = this.#options;
    const [token, root] = await Promise.all([
      tokenFile === undefined ? "" : readText(tokenFile, "the token that this node shows to the authority"),
      readText(rootFile, "the root that the authority's own certificate must lead to"),
    ]);
    signal.throwIfAborted();
    const answer = await this.#call(this.#client(root), order, token, signal);
    return answer.certChain;
  }

  /** Closes the connection; calls under way fail. May be called twice. */
  stop(): void {
    this.#channel?.client.close();
    this.#channel = undefined;
  }

  /** The channel trusts what it was made with, so another root means another channel. */
  #client(root: string): Client {
    if (this.#channel?.root === root) return this.#channel.client;
    const { address, serverName } = this.#options;
    const client = createControlClient({ address, serverName, root, largestMessage: largestAnswer });
    this.#channel?.client.close();
    this.#channel = { root, client };
    return client;
  }

  async #call(
    client: Client,
    order: CertificateOrder,
    token: string,
    signal: AbortSignal,
  ): Promise<IstioCertificateResponse> {
    const { cluster, timeoutMs } = this.#options;
    const metadata = bearer(token);
    if (cluster !== "") metadata.set("clusterid", cluster);
    const request = create(IstioCertificateRequestSchema, {
      csr: order.request,
      validityDuration: BigInt(Math.ceil(order.lifetimeMs / 1000)),
      metadata: { ImpersonatedIdentity: order.identity },
    });
    try {
      return await callControl(client, createCertificate, { request, metadata, timeoutMs }, signal);
    } catch (error) {
      throw isServiceError(error) ? this.#explain(error) : error;
    }
  }

  #explain(error: ServiceError): MeshError {
    const { address, rootFile, tokenFile, timeoutMs } = this.#options;
    const explanations = new Map<number, readonly [`MESH_CA_${string}`, string]>([
      [
        status.UNAUTHENTICATED,
        [
          "MESH_CA_UNAUTHENTICATED",
          `does not accept ${tokenFile === undefined ? "callers without a token" : `the token in ${tokenFile}`}`,
        ],
      ],
      [status.PERMISSION_DENIED, ["MESH_CA_REFUSED", "refused; its log says why"]],
      [status.DEADLINE_EXCEEDED, ["MESH_CA_TIMEOUT", `did not answer within ${timeoutMs} ms`]],
      [
        status.UNAVAILABLE,
        ["MESH_CA_UNREACHABLE", `cannot be reached, or its certificate does not lead to the root in ${rootFile}`],
      ],
    ]);
    const [code, what] = explanations.get(error.code) ?? ["MESH_CA_FAILED", `answered ${status[error.code]}`];
    return new MeshError(code, `${address} ${what}: ${error.details || messageOf(error)}`, { cause: error });
  }
}

async function readText(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new MeshError("MESH_CA_FILE_UNREADABLE", `${what} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
