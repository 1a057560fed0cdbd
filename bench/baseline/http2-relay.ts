/**
 * The least that a tunnel on node:http2 can be: one TLS session, a CONNECT per connection, `pipe` both ways, defaults but for the
 * windows. No identities, policy, limits, pooling, resets or records. It is what the TypeScript engine's throughput is held to.
 */
import { connect as connectHttp2, createSecureServer, type ServerHttp2Session } from "node:http2";
import { type AddressInfo, connect as connectTcp, createServer } from "node:net";
import type { SocketAddress } from "../../src/model/address.ts";

export interface RelayMaterial {
  readonly chain: string;
  readonly key: string;
  readonly trust: string;
}

export interface BareRelay {
  /** Where the client end listens. */
  readonly entrance: SocketAddress;
  stop(): void;
}

const MiB = 2 ** 20;
const settings = { initialWindowSize: 4 * MiB, maxFrameSize: MiB };
const sessionOptions = { settings, maxSessionMemory: 512 };
const connectionWindow = 16 * MiB;

/** Connections to `entrance` come out at `app`, through one mutual TLS 1.3 session on loopback. */
export async function startBareRelay(material: RelayMaterial, app: SocketAddress): Promise<BareRelay> {
  const tls = {
    cert: material.chain,
    key: material.key,
    ca: material.trust,
    minVersion: "TLSv1.3",
    ciphers: "TLS_AES_256_GCM_SHA384",
    rejectUnauthorized: true,
  } as const;

  const sessions = new Set<ServerHttp2Session>();
  const far = createSecureServer({ ...tls, ...sessionOptions, requestCert: true });
  far.on("session", (session) => {
    sessions.add(session);
    session.setLocalWindowSize(connectionWindow);
  });
  far.on("stream", (stream) => {
    stream.on("error", () => {});
    const socket = connectTcp({ host: app.address, port: app.port, allowHalfOpen: true, noDelay: true });
    socket.on("error", () => stream.close());
    socket.once("connect", () => {
      stream.respond({ ":status": 200 });
      stream.pipe(socket).pipe(stream);
    });
  });
  const farPort = await listening(far);

  const session = connectHttp2(`https://127.0.0.1:${farPort}`, {
    ...tls,
    ...sessionOptions,
    checkServerIdentity: () => undefined,
  });
  session.on("error", () => {});
  await new Promise<void>((resolve) => {
    session.once("remoteSettings", () => resolve());
  });
  session.setLocalWindowSize(connectionWindow);
  const near = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    socket.on("error", () => {});
    const stream = session.request({ ":method": "CONNECT", ":authority": "app:1" }, { endStream: false });
    stream.on("error", () => socket.destroy());
    stream.once("response", () => socket.pipe(stream).pipe(socket));
  });
  const nearPort = await listening(near);
  return {
    entrance: { address: "127.0.0.1", port: nearPort },
    stop: () => {
      near.close();
      session.destroy();
      for (const open of sessions) open.destroy();
      far.close();
    },
  };
}

function listening(server: { listen(port: number, host: string, done: () => void): unknown; address(): unknown }) {
  return new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}
