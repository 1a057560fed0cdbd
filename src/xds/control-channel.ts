/** How clients reach the control plane: one of its replicas, any, and another one when that goes. */
import { isIP } from "node:net";
import { checkServerIdentity, createSecureContext, type PeerCertificate } from "node:tls";
import { type ChannelCredentials, type ChannelOptions, credentials } from "@grpc/grpc-js";
import { parseHostPort } from "../lib/host-port.ts";

export interface ControlAddress {
  /** `host:port`; a name may stand for several addresses, as a headless Service's does. */
  readonly address: string;
  /** The name in the server's certificate, when it is not the host of `address`; empty for that host. */
  readonly serverName: string;
}

export interface ControlChannel {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

/** Replicas change their addresses when they start anew: a name is asked again at once when none of what it meant answers. */
const resolveAgainMs = 1000;

/** `root`: PEM of what the server's certificate must lead to. */
export function controlChannel({ address, serverName }: ControlAddress, root: string): ControlChannel {
  const name = serverName === "" ? (parseHostPort(address)?.host ?? address) : serverName;
  const verify = { checkServerIdentity: (_sent: string, peer: PeerCertificate) => checkServerIdentity(name, peer) };
  const context = createSecureContext({ ca: root, minVersion: "TLSv1.3" });
  return {
    credentials: credentials.createFromSecureContext(context, verify),
    options: {
      // What is sent as SNI. It may not be an IP (RFC 6066 §3); what is verified is `name` all the same.
      "grpc.ssl_target_name_override": isIP(name) === 0 ? name : "warren-control",
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 10_000,
      // Retries are the callers', who know what is urgent.
      "grpc.enable_retries": 0,
      // A channel of our own, so that closing it closes its connections.
      "grpc.use_local_subchannel_pool": 1,
      // All addresses of a name in an order of our own: agents spread over the replicas, and who finds one gone tries the next.
      "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ pick_first: { shuffleAddressList: true } }] }),
      "grpc.service_config_disable_resolution": 1,
      "grpc.dns_min_time_between_resolutions_ms": resolveAgainMs,
    },
  };
}
