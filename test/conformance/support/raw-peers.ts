/** HBONE peers that share no code with the engines: node:http2 and node:tls used directly, as right or as wrong as a test asks. */
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  createSecureServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Server, Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { onTestFinished } from "vitest";
import type { SocketAddress } from "../../../src/model/address.ts";
import { watchErrors } from "./apps.ts";
import { freshAddress, ports } from "./loopback.ts";
import type { Papers } from "./mesh-pki.ts";

function tlsOptions(papers: Papers | undefined): ConnectionOptions {
  return {
    minVersion: "TLSv1.3",
    ALPNProtocols: ["h2"],
    // What the engine proves is read from the socket by the test.
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ...(papers === undefined ? {} : { cert: papers.chain, key: papers.key, ca: papers.trust }),
  };
}

/** A TLS connection to an engine; without papers it shows no certificate. */
export async function rawTls(
  to: SocketAddress,
  papers: Papers | undefined,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const socket = watchErrors(connectTls({ host: to.address, port: to.port, ...tlsOptions(papers), ...options }));
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, "secureConnect");
  return socket;
}

export interface RawClient {
  readonly session: ClientHttp2Session;
  readonly socket: TLSSocket;
}

/** An HTTP/2 client with the engine's SETTINGS at hand. */
export async function rawClient(
  to: SocketAddress,
  papers: Papers,
  options: SecureClientSessionOptions = {},
): Promise<RawClient> {
  const socket = await rawTls(to, papers);
  const session = connectHttp2("https://peer", { ...options, createConnection: () => socket });
  onTestFinished(() => {
    session.destroy();
  });
  session.on("error", () => {});
  await once(session, "remoteSettings");
  return { session, socket };
}

export interface RawAnswer {
  readonly stream: ClientHttp2Stream;
  readonly headers: IncomingHttpHeaders;
}

/** One request, whatever it says; rejects if the stream ends without an answer. */
export async function rawRequest(session: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<RawAnswer> {
  const stream = session.request(headers, { endStream: false });
  const [answer] = (await once(stream, "response")) as [IncomingHttpHeaders];
  stream.on("error", () => {});
  return { stream, headers: answer };
}

export function rawConnect(
  session: ClientHttp2Session,
  authority: string,
  more: OutgoingHttpHeaders = {},
): Promise<RawAnswer> {
  return rawRequest(session, { ":method": "CONNECT", ":authority": authority, ...more });
}

export interface RawServer extends SocketAddress {
  readonly sessions: ServerHttp2Session[];
  /** TCP connections so far. */
  readonly accepted: Socket[];
  readonly server: Server;
}

/** An HBONE server, on an address of its own unless one is given. `handle` answers each CONNECT. */
export async function rawServer(
  papers: Papers,
  handle: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  options: SecureServerOptions = {},
  address: string = freshAddress(),
): Promise<RawServer> {
  const server = createSecureServer({
    cert: papers.chain,
    key: papers.key,
    ca: papers.trust,
    minVersion: "TLSv1.3",
    requestCert: true,
    ...options,
  });
  const sessions: ServerHttp2Session[] = [];
  const accepted: Socket[] = [];
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => {});
    accepted.push(socket);
  });
  server.on("sessionError", () => {});
  server.on("tlsClientError", () => {});
  server.on("session", (session) => {
    session.on("error", () => {});
    sessions.push(session);
  });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    handle(stream, headers);
  });
  server.listen(ports.hbone, address);
  await once(server, "listening");
  onTestFinished(() => {
    for (const session of sessions) session.destroy();
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  return { address, port: ports.hbone, sessions, accepted, server };
}

/** Accepts every CONNECT and sends its bytes back. */
export function echoStream(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200 });
  stream.pipe(stream);
}
