/** A gRPC channel to control that trusts one root and checks one name: for the agent's streams and for people's shells. */
import { isIP } from "node:net";
import { checkServerIdentity, createSecureContext, type PeerCertificate } from "node:tls";
import { Client, credentials } from "@grpc/grpc-js";
import { MeshError } from "../lib/errors.ts";
import { parseHostPort } from "../lib/host-port.ts";
import { pemBlocks } from "../lib/pem.ts";

export interface ControlClientOptions {
  /** `host:port`, or `unix:` and a path. */
  readonly address: string;
  /** PEM of the roots that control's certificate must lead to. */
  readonly root: string;
  /** The name in its certificate, when it is not the host of `address`; empty for that host, `localhost` for a socket. */
  readonly serverName: string;
  readonly largestMessage: number;
}

export function createControlClient({ address, root, serverName, largestMessage }: ControlClientOptions): Client {
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
    "grpc.enable_retries": 0,
    // A channel of our own, so that closing it closes its connections.
    "grpc.use_local_subchannel_pool": 1,
  });
}
