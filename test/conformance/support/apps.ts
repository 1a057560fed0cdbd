/** Applications at both ends of a flow: plain TCP, half-open allowed, everything closed when the test is over. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import type { SocketAddress } from "../../../src/model/address.ts";

export interface App extends SocketAddress {
  readonly connections: Socket[];
  readonly server: Server;
}

/** Listens on 127.0.0.1 and hands each connection to `handle`. */
export async function startApp(handle: (socket: Socket) => void): Promise<App> {
  const connections: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.push(watchErrors(socket));
    handle(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  return { address: "127.0.0.1", port: (server.address() as AddressInfo).port, connections, server };
}

/** The connection of that number once it is accepted: a peer may have its answer before this process's event loop saw it. */
export async function connectionOf(app: App, index = 0): Promise<Socket> {
  for (;;) {
    const socket = app.connections[index];
    if (socket !== undefined) return socket;
    await once(app.server, "connection");
  }
}

/** Sends back what it gets and ends when its client does. */
export function echo(socket: Socket): void {
  socket.pipe(socket);
}

/** A connection that is up, or that was reset as soon as it was. */
export async function dialApp(to: SocketAddress): Promise<Socket> {
  const socket = watchErrors(connect({ host: to.address, port: to.port, allowHalfOpen: true }));
  onTestFinished(() => {
    socket.destroy();
  });
  await new Promise((resolve) => {
    socket.once("connect", resolve);
    socket.once("close", resolve);
  });
  return socket;
}

/** Everything until the other side ends; rejects if it breaks instead. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** SHA-256 of everything until the other side ends. */
export async function hashAll(socket: Socket): Promise<{ bytes: number; hash: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, hash: hash.digest("hex") };
}

/** Writes and waits for the same bytes back. */
export async function ping(socket: Socket, text = "ping"): Promise<string> {
  socket.write(text);
  let answer = "";
  while (answer.length < text.length) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    answer += chunk.toString();
  }
  return answer;
}

const errors = new WeakMap<Socket, Error>();

/** Remembers the first error of a socket for `closeCode`, and keeps it from being nobody's. */
export function watchErrors<S extends Socket>(socket: S): S {
  socket.on("error", (error) => {
    if (!errors.has(socket)) errors.set(socket, error);
  });
  return socket;
}

/** How the connection ends: the error's code, or `""` for a regular end, which is answered by an end. */
export function closeCode(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    const over = () => {
      const error = errors.get(socket);
      resolve(error === undefined ? "" : codeOf(error));
    };
    if (socket.closed) {
      over();
      return;
    }
    socket.once("close", over);
    socket.once("end", () => socket.end());
    socket.resume();
  });
}

function codeOf(error: Error & { code?: unknown }): string {
  return typeof error.code === "string" ? error.code : error.message;
}
