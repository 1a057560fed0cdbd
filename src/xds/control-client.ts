/**
 * How everyone reaches the control plane, agents and people's shells alike: one of its replicas, any, and another one when that goes; a
 * root to trust, one name to check, and a bearer token with each call.
 */
import { isIP } from "node:net";
import { checkServerIdentity, createSecureContext, type PeerCertificate } from "node:tls";
import { Client, credentials, Metadata, type MethodDefinition, type ServiceError } from "@grpc/grpc-js";
import { MeshError } from "../lib/errors.ts";
import { parseHostPort } from "../lib/host-port.ts";
import { pemBlocks } from "../lib/pem.ts";

export interface ControlAddress {
  /** `host:port`, where a name may stand for several addresses, as a headless Service's does; or `unix:` and a path. */
  readonly address: string;
  /** The name in control's certificate, when it is not the host of `address`; empty for that host, `localhost` for a socket. */
  readonly serverName: string;
}

export interface ControlClientOptions extends ControlAddress {
  /** PEM of the roots that control's certificate must lead to. */
  readonly root: string;
  /** Bytes of an answer; a larger one fails its call. */
  readonly largestMessage: number;
}

/** Replicas change their addresses when they start anew: a name is asked again at once when none of what it meant answers. */
const resolveAgainMs = 1000;

/** The channel trusts what it was made with, so another root means another client. */
export function createControlClient({ address, serverName, root, largestMessage }: ControlClientOptions): Client {
  if (pemBlocks(root, "CERTIFICATE").length === 0)
    throw new MeshError("MESH_CONTROL_ROOT_UNREADABLE", `the root for ${address} holds no PEM certificate`);
  const host = address.startsWith("unix:") ? "localhost" : (parseHostPort(address)?.host ?? address);
  const name = serverName === "" ? host : serverName;
  const context = createSecureContext({ ca: root, minVersion: "TLSv1.3" });
  const verify = { checkServerIdentity: (_sent: string, peer: PeerCertificate) => checkServerIdentity(name, peer) };
  return new Client(address, credentials.createFromSecureContext(context, verify), {
    // What is sent as SNI. It may not be an IP (RFC 6066 §3); what is verified is `name` all the same.
    "grpc.ssl_target_name_override": isIP(name) === 0 ? name : "warren-control",
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.max_receive_message_length": largestMessage,
    // Retries are the callers', who know what is urgent; how long a client stays away from what refused it is set here.
    "grpc.enable_retries": 0,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5000,
    // A channel of our own, so that closing it closes its connections.
    "grpc.use_local_subchannel_pool": 1,
    // All addresses of a name in an order of our own: agents spread over the replicas, and who finds one gone tries the next.
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ pick_first: { shuffleAddressList: true } }] }),
    "grpc.service_config_disable_resolution": 1,
    "grpc.dns_min_time_between_resolutions_ms": resolveAgainMs,
  });
}

/** What a call shows; nothing for an empty token. Made for each call, because tokens rotate. */
export function bearer(token: string): Metadata {
  const metadata = new Metadata();
  const bare = token.trim();
  if (bare !== "") metadata.set("authorization", `Bearer ${bare}`);
  return metadata;
}

export interface UnaryCall<I> {
  readonly request: I;
  readonly metadata: Metadata;
  /** Absent: as long as it takes. */
  readonly timeoutMs?: number;
}

/** Rejects with gRPC's own error, or with the signal's reason once that is aborted. */
export function callControl<I, O>(
  client: Client,
  { path, requestSerialize, responseDeserialize }: MethodDefinition<I, O>,
  { request, metadata, timeoutMs = Number.POSITIVE_INFINITY }: UnaryCall<I>,
  signal: AbortSignal,
): Promise<O> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + timeoutMs };
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
      (error, answer) => {
        signal.removeEventListener("abort", cancel);
        if (answer !== undefined) resolve(answer);
        else
          reject(signal.aborted ? (signal.reason as Error) : (error ?? new Error("the call ended without an answer")));
      },
    );
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel, { once: true });
  });
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}
