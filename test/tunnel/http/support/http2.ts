/** HTTP/2 applications and clients on loopback, on both sides of a gate. */
import {
  type ClientHttp2Session,
  connect,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { allowed, denied, listen, type Policy } from "./gate.ts";
import type { Stage } from "./stage.ts";

type Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]) => void;

export async function http2Application(
  stage: Stage,
  handle: Handler,
): Promise<{ readonly port: number; readonly seen: (readonly string[])[]; readonly server: Http2Server }> {
  const seen: (readonly string[])[] = [];
  const server = createServer();
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket));
  server.on("stream", (stream, headers, _flags, rawHeaders) => {
    seen.push(rawHeaders);
    stream.on("error", () => {});
    handle(stream, headers, rawHeaders);
  });
  const port = await listen(server);
  stage.add(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port, seen, server };
}

export function http2Client(stage: Stage, port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  stage.add(() => session.destroy());
  return session;
}

export interface Answer {
  status: number;
  headers: readonly string[];
  trailers: readonly string[];
  body: string;
  code: number | undefined;
}

/** Sends a request and waits for the stream's end. */
export function ask(session: ClientHttp2Session, fields: readonly string[], body?: string): Promise<Answer> {
  const stream = session.request(fields, { endStream: body === undefined });
  const answer: Answer = { status: 0, headers: [], trailers: [], body: "", code: undefined };
  stream.on("response", (headers, _flags, raw) => {
    answer.status = headers[":status"] ?? 0;
    answer.headers = raw;
  });
  stream.on("trailers", (_trailers, _flags, raw) => {
    answer.trailers = raw;
  });
  stream.setEncoding("latin1");
  stream.on("data", (chunk: string) => {
    answer.body += chunk;
  });
  stream.on("error", () => {});
  if (body !== undefined) stream.end(body);
  return new Promise((resolve) => {
    stream.once("close", () => {
      answer.code = stream.rstCode;
      resolve(answer);
    });
  });
}

export const get = (path: string, ...fields: string[]) => [
  ":method",
  "GET",
  ":scheme",
  "http",
  ":authority",
  "shop",
  ":path",
  path,
  ...fields,
];

export const notAdmin: Policy = ({ path }) => (path.startsWith("/admin") ? denied : allowed);
