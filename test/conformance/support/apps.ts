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
    socket.on("error", () => {});
    connections.push(socket);
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

/** Sends back what it gets and ends when its client does. */
export function echo(socket: Socket): void {
  socket.pipe(socket);
}

export async function dialApp(to: SocketAddress): Promise<Socket> {
  const socket = connect({ host: to.address, port: to.port, allowHalfOpen: true });
  socket.on("error", () => {});
  onTestFinished(() => {
    socket.destroy();
  });
  await once(socket, "connect");
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

/** The error code that the socket ends with; `""` for an end without one. */
export async function closeCode(socket: Socket): Promise<string> {
  if (socket.errored !== null) return codeOf(socket.errored);
  if (socket.closed) return "";
  let code = "";
  socket.once("error", (error) => {
    code = codeOf(error);
  });
  socket.resume();
  await once(socket, "close");
  return code;
}

function codeOf(error: Error & { code?: unknown }): string {
  return typeof error.code === "string" ? error.code : error.message;
}
