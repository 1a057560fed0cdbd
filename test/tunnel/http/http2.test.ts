import { spawn } from "node:child_process";
import {
  type ClientHttp2Session,
  connect,
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import {
  Client,
  credentials,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { resetStream } from "../../../src/tunnel/typescript/leg.ts";
import {
  allowed,
  connectTo,
  converse,
  denied,
  type Gate,
  type GateSetup,
  listen,
  RawClient,
  until,
} from "./support/gate.ts";
import { Stage } from "./support/stage.ts";

const stage = new Stage();

afterEach(() => stage.close());

type Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]) => void;

async function application(
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

function client(port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  stage.add(() => session.destroy());
  return session;
}

interface Answer {
  status: number;
  headers: readonly string[];
  trailers: readonly string[];
  body: string;
  code: number | undefined;
}

/** Sends a request and waits for the stream's end. */
function ask(session: ClientHttp2Session, fields: readonly string[], body?: string): Promise<Answer> {
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

const get = (path: string, ...fields: string[]) => [
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

const notAdmin: GateSetup["policy"] = ({ path }) => (path.startsWith("/admin") ? denied : allowed);

test("forwards an allowed stream with its own fields, and its answer with trailers", async () => {
  const { port, seen } = await application((stream) => {
    stream.respond([":status", "200", "x-one", "1", "x-one", "2"], {
      waitForTrailers: true,
      sendDate: false,
    } as object);
    stream.once("wantTrailers", () => stream.sendTrailers({ "x-sum": "42" }));
    stream.pipe(stream);
  });
  const opened = await stage.gate({ application: port });
  const fields = [
    ":method",
    "POST",
    ":scheme",
    "http",
    ":authority",
    "Shop",
    ":path",
    "/a/../b?c",
    "x-a",
    "1",
    "x-a",
    "\xe9",
  ];
  const answer = await ask(client(opened.port), fields, "body");
  expect(answer).toEqual({
    status: 200,
    headers: [":status", "200", "x-one", "1", "x-one", "2"],
    trailers: ["x-sum", "42"],
    body: "body",
    code: constants.NGHTTP2_NO_ERROR,
  });
  expect(seen).toEqual([
    [":method", "POST", ":scheme", "http", ":authority", "Shop", ":path", "/b?c", "x-a", "1", "x-a", "\xe9"],
  ]);
  expect(opened.records).toMatchObject([
    {
      protocol: "HTTP/2",
      method: "POST",
      host: "shop",
      path: "/b",
      status: 200,
      reason: "ok",
      bytesSent: 4,
      bytesReceived: 4,
    },
  ]);
});

test("answers a refused stream 403 while others of its connection go on", async () => {
  const { port, seen } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end("hello");
  });
  const opened = await stage.gate({ application: port, policy: notAdmin });
  const session = client(opened.port);
  const [no, yes, body] = await Promise.all([
    ask(session, get("/admin")),
    ask(session, get("/shop")),
    ask(session, [":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/admin/x"], "a body"),
  ]);
  expect([no.status, no.body, no.code]).toEqual([403, "RBAC: access denied", constants.NGHTTP2_NO_ERROR]);
  expect(no.headers).toContain("x-warren-reason");
  expect([yes.status, yes.body]).toEqual([200, "hello"]);
  expect([body.status, body.code]).toEqual([403, constants.NGHTTP2_NO_ERROR]);
  expect(seen.length).toBe(1);
  expect(opened.dials).toBe(1);
});

test("passes interim answers on", async () => {
  const { port } = await application((stream) => {
    stream.additionalHeaders({ ":status": 103, link: "</a.css>" });
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const { port: entry } = await stage.gate({ application: port });
  const stream = client(entry).request(get("/"));
  const interim: (number | undefined)[] = [];
  stream.on("headers", (headers) => interim.push(headers[":status"]));
  stream.resume();
  await new Promise((resolve) => stream.once("close", resolve));
  expect(interim).toEqual([103]);
});

test("carries resets in both directions with their code", async () => {
  const codes: (number | undefined)[] = [];
  const { port } = await application((stream, headers) => {
    stream.once("close", () => codes.push(stream.rstCode));
    if (headers[":path"] === "/reset") {
      stream.respond({ ":status": 200 });
      stream.write("some");
      stream.once("data", () => {});
      setImmediate(() => resetStream(stream, constants.NGHTTP2_ENHANCE_YOUR_CALM));
    } else {
      stream.respond({ ":status": 200 });
      stream.write("begin");
    }
  });
  const opened = await stage.gate({ application: port });
  const session = client(opened.port);
  const answer = await ask(session, get("/reset"));
  expect(answer.code).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  const stream = session.request(get("/wait"));
  stream.on("error", () => {});
  stream.once("data", () => stream.close(constants.NGHTTP2_CANCEL));
  await until(() => codes.length === 2);
  expect(codes).toEqual([constants.NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_CANCEL]);
  await until(() => opened.records.length === 2);
  expect(opened.records.map(({ reason }) => reason)).toEqual(["reset-by-destination", "reset-by-source"]);
});

test("holds a client back when the application doesn't read", async () => {
  const { port } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.pause();
  });
  const { port: entry } = await stage.gate({ application: port });
  const stream = client(entry).request([":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"], {
    endStream: false,
  });
  stream.on("error", () => {});
  await new Promise((resolve) => stream.once("response", resolve));
  let sent = 0;
  const chunk = Buffer.alloc(65_536);
  const taken = () =>
    new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), 500);
      stream.write(chunk, () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  while (sent < 64 << 20 && (await taken())) sent += chunk.length;
  expect(sent).toBeLessThan(16 << 20);
});

test.for([
  ["two authorities", get("/shop", "host", "other"), 400],
  ["an encoded dot segment", get("/shop/%2e%2e/admin"), 403],
  ["a bad escape", get("/%%32%65"), 400],
  ["a fragment", get("/shop#/admin"), 400],
  ["a scheme of its own", [":method", "GET", ":scheme", "ftp", ":authority", "a", ":path", "/"], 400],
  ["CONNECT", [":method", "CONNECT", ":authority", "a:1"], 403],
] as const)("refuses %s", async ([, fields, expected]) => {
  const { port, seen } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const { port: entry } = await stage.gate({ application: port, policy: notAdmin });
  const answer = await ask(client(entry), fields);
  expect(answer.status).toBe(expected);
  expect(seen).toEqual([]);
});

test("takes the Host of a client that sends no :authority", async () => {
  const { port, seen } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const hosts: string[] = [];
  const { port: entry } = await stage.gate({
    application: port,
    policy: ({ host }) => {
      hosts.push(host);
      return allowed;
    },
  });
  const raw = await RawClient.open(entry);
  raw.socket.write(
    rawHttp2([
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      ["host", "Shop"],
    ]),
  );
  await until(() => seen.length === 1);
  raw.close();
  expect(hosts).toEqual(["shop"]);
  expect(seen[0]).toEqual([":method", "GET", ":scheme", "http", ":authority", "Shop", ":path", "/"]);
});

test("answers 503 with the reason when nobody listens", async () => {
  const opened = await stage.gate({ application: 1 });
  const answer = await ask(client(opened.port), get("/"));
  expect(answer.status).toBe(503);
  expect(answer.headers.join(" ")).toContain("x-warren-reason connect-failed");
  expect(opened.records).toMatchObject([{ reason: "connect-failed", status: 503 }]);
});

test("answers 502 when the application speaks no HTTP/2", async () => {
  const { port } = await stage.application();
  const { port: entry } = await stage.gate({ application: port });
  const answer = await ask(client(entry), get("/"));
  expect(answer.status).toBe(502);
});

test("ends with the client's connection, and the application's with it", async () => {
  const { port } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const opened = await stage.gate({ application: port });
  const session = client(opened.port);
  await ask(session, get("/"));
  expect(opened.upstreams).toBe(1);
  session.close();
  await until(() => opened.upstreams === 0 && opened.ends.length === 1);
  expect(opened.ends).toEqual(["ok"]);
});

test.for(["a drain", "idle time"])("says goodbye before it closes a connection: %s", async (why) => {
  const { port } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end("hello");
  });
  const opened = await stage.gate({ application: port, options: why === "idle time" ? { idleTimeout: 50 } : {} });
  const socket = await connectTo(opened.port);
  let broken = "";
  socket.on("error", (error: NodeJS.ErrnoException) => {
    broken = error.code ?? error.message;
  });
  const session = connect("http://shop", { createConnection: () => socket });
  let code: number | undefined;
  session.on("goaway", (sent) => {
    code = sent;
  });
  session.on("error", () => {});
  const closed = new Promise((resolve) => session.once("close", resolve));
  expect((await ask(session, get("/"))).body).toBe("hello");
  if (why === "a drain") opened.enforcer.drain();
  await closed;
  await until(() => opened.ends.length === 1);
  expect([code, broken, opened.ends]).toEqual([constants.NGHTTP2_NO_ERROR, "", ["ok"]]);
  await until(() => opened.upstreams === 0);
});

test("passes the application's GOAWAY on", async () => {
  const { port } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end("last");
    stream.session?.goaway();
  });
  const { port: entry } = await stage.gate({ application: port });
  const session = client(entry);
  const closed = new Promise((resolve) => session.once("close", resolve));
  const answer = await ask(session, get("/"));
  expect(answer.body).toBe("last");
  await closed;
});

const unary: MethodDefinition<Buffer, Buffer> = {
  path: "/echo.Echo/Say",
  requestStream: false,
  responseStream: false,
  requestSerialize: (value) => value,
  requestDeserialize: (bytes) => bytes,
  responseSerialize: (value) => value,
  responseDeserialize: (bytes) => bytes,
};
const bidirectional: MethodDefinition<Buffer, Buffer> = {
  ...unary,
  path: "/echo.Echo/Chat",
  requestStream: true,
  responseStream: true,
};
const same = (bytes: Buffer) => bytes;

test("carries gRPC, and a refusal is PERMISSION_DENIED to its client", async () => {
  const server = new Server();
  server.addService(
    { say: unary, chat: bidirectional, hidden: { ...unary, path: "/echo.Admin/Say" } },
    {
      say: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
        if (call.request.toString() === "fail") done({ code: status.NOT_FOUND, details: "no such thing" });
        else done(null, call.request);
      },
      chat: (call: ServerDuplexStream<Buffer, Buffer>) => {
        call.on("data", (bytes: Buffer) => call.write(bytes));
        call.on("end", () => call.end());
      },
      hidden: (_call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) =>
        done(null, Buffer.from("reached")),
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  stage.add(() => server.forceShutdown());
  const { port: entry } = await stage.gate({
    application: port,
    policy: ({ path, method }) => (path.startsWith("/echo.Echo/") && method === "POST" ? allowed : denied),
  });
  const caller = new Client(`127.0.0.1:${entry}`, credentials.createInsecure());
  stage.add(() => caller.close());
  const say = (path: string, text: string) =>
    new Promise<string | number>((resolve) => {
      caller.makeUnaryRequest(path, same, same, Buffer.from(text), (error: ServiceError | null, bytes?: Buffer) =>
        resolve(error === null ? String(bytes) : error.code),
      );
    });
  expect(await say("/echo.Echo/Say", "hello")).toBe("hello");
  expect(await say("/echo.Echo/Say", "fail")).toBe(status.NOT_FOUND);
  expect(await say("/echo.Admin/Say", "x")).toBe(status.PERMISSION_DENIED);
  const chat = caller.makeBidiStreamRequest("/echo.Echo/Chat", same, same);
  const heard: string[] = [];
  for (const word of ["one", "two"]) {
    chat.write(Buffer.from(word));
    heard.push(String(await new Promise<Buffer>((resolve) => chat.once("data", resolve))));
  }
  const over = new Promise((resolve) => chat.once("end", resolve));
  chat.end();
  chat.resume();
  await over;
  expect(heard).toEqual(["one", "two"]);
});

/** Runs a program of another make, and returns what it wrote. */
function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: 10_000 });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => resolve(out));
  });
}

test("serves curl over HTTP/1.1 and HTTP/2, and a wish for h2c", async () => {
  const http1 = await stage.application((request, response) => response.end(`${request.method} ${request.url}`));
  const http2 = await application((stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(`two ${headers[":path"]}`);
  });
  const one = await stage.gate({ application: http1.port, policy: notAdmin });
  const two = await stage.gate({ application: http2.port, policy: notAdmin });
  const url = (gate: Gate, path: string) => `http://127.0.0.1:${gate.port}${path}`;
  const curl = (...args: string[]) =>
    run("curl", ["--silent", "--max-time", "5", "--write-out", " %{http_code} %{http_version}", ...args]);
  expect(await curl(url(one, "/shop"))).toBe("GET /shop 200 1.1");
  expect(await curl("--data", "x=1", url(one, "/admin/x"))).toBe("RBAC: access denied 403 1.1");
  expect(await curl("--http2", url(one, "/shop"))).toBe("GET /shop 200 1.1");
  expect(await curl("--http1.0", url(one, "/shop"))).toBe("GET /shop 200 1.1");
  expect(await curl("--path-as-is", url(one, "/shop/../admin"))).toBe("RBAC: access denied 403 1.1");
  expect(await curl("--http2-prior-knowledge", url(two, "/shop"))).toBe("two /shop 200 2");
  expect(await curl("--http2-prior-knowledge", url(two, "/admin"))).toBe("RBAC: access denied 403 2");
});

test("serves nghttp with prior knowledge, several streams at once", async () => {
  const { port } = await application((stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(`${headers[":path"]};`);
  });
  const { port: entry } = await stage.gate({ application: port, policy: notAdmin });
  const base = `http://127.0.0.1:${entry}`;
  const out = await run("nghttp", ["--timeout=5", `${base}/one`, `${base}/two`, `${base}/admin`]);
  for (const part of ["/one;", "/two;", "RBAC: access denied"]) expect(out).toContain(part);
});

const shop = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/shop"],
  [":authority", "a"],
] as const;

/** Sends one request of raw fields and waits for the first frame that belongs to its stream, or to the connection's end. */
async function firstFrame(port: number, fields: readonly (readonly [string, string])[]): Promise<number> {
  const raw = await RawClient.open(port);
  raw.socket.write(rawHttp2(fields));
  for (;;) {
    for (const { type, stream } of framesOf(Buffer.from(raw.text, "latin1"))) {
      if (stream !== 1 && type !== frameType.goaway) continue;
      raw.close();
      return type;
    }
    await raw.reads(new RegExp(`^.{${raw.text.length + 1}}`, "s"));
  }
}

const frameType = { headers: 1, reset: 3, goaway: 7 };

function framesOf(bytes: Buffer): { readonly type: number; readonly stream: number }[] {
  const frames: { type: number; stream: number }[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    frames.push({ type: bytes[at + 3] ?? 0, stream: bytes.readUInt32BE(at + 5) });
  }
  return frames;
}

test.for<[string, readonly (readonly [string, string])[]]>([
  ["a doubled path", [...shop, [":path", "/admin"]]],
  ["a doubled authority", [...shop, [":authority", "b"]]],
  ["two Hosts", [...shop, ["host", "a"], ["host", "b"]]],
  ["a late pseudo-header", [...shop.slice(0, 3), ["a", "1"], [":authority", "b"]]],
  ["a user in the authority", [...shop.slice(0, 3), [":authority", "a@b"]]],
  ["a line end in the path", [...shop.slice(0, 2), [":path", "/shop HTTP/1.1\r\nX: y"], [":authority", "a"]]],
  ["a path without a slash", [...shop.slice(0, 2), [":path", "admin"], [":authority", "a"]]],
  ["an empty path", [...shop.slice(0, 2), [":path", ""], [":authority", "a"]]],
  ["a capital name", [...shop, ["X-A", "1"]]],
  ["a connection field", [...shop, ["connection", "keep-alive"]]],
  ["a transfer coding", [...shop, ["transfer-encoding", "chunked"]]],
  ["a wish for another protocol", [...shop, ["upgrade", "websocket"]]],
  ["TE beside trailers", [...shop, ["te", "gzip"]]],
  ["a length that is wrong", [...shop, ["content-length", "5"]]],
  ["an unknown pseudo-header", [...shop, [":protocol", "websocket"]]],
])("resets a stream below the reading of its head: %s", async ([, fields]) => {
  const { port, seen } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const opened = await stage.gate({ application: port });
  expect(await firstFrame(opened.port, fields)).toBe(frameType.reset);
  expect(seen).toEqual([]);
  expect(opened.dials).toBe(0);
});

test.for<[string, readonly [string, string]]>([
  ["a line end in a value", ["x", "1\r\nGET /admin HTTP/1.1"]],
  ["a NUL in a value", ["x", "a\0b"]],
  ["a value with spaces around it", ["x", " a "]],
  ["a name with a space", ["x y", "1"]],
  ["a name with a colon", ["x:y", "1"]],
  ["an empty name", ["", "1"]],
])("neither judges nor forwards a field that is none: %s", async ([, field]) => {
  const { port, seen } = await application((stream) => {
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const judged: (readonly string[])[] = [];
  const opened = await stage.gate({
    application: port,
    policy: (request) => {
      judged.push(request.header(field[0]));
      return allowed;
    },
  });
  expect(await firstFrame(opened.port, [...shop, field])).toBe(frameType.headers);
  expect(judged).toEqual([[]]);
  expect(seen).toEqual([[":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/shop"]]);
});

test("ends a connection whose frames can't be read", async () => {
  const opened = await stage.gate({ application: 1 });
  const raw = await RawClient.open(opened.port);
  // SETTINGS on a stream of its own is a connection error (RFC 9113 §6.5).
  raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\0\0\0\0\x01");
  await raw.closed;
  expect(framesOf(Buffer.from(raw.text, "latin1")).at(-1)?.type).toBe(frameType.goaway);
  expect([opened.ends.length, opened.enforcer.size]).toEqual([1, 0]);
});

test("ends a connection whose preface goes wrong", async () => {
  const opened = await stage.gate({ application: 1 });
  const raw = await converse(opened.port, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
  expect([raw.text, raw.error]).toEqual(["", "ECONNRESET"]);
  expect(opened.ends).toEqual(["not-http"]);
});

/** A preface, SETTINGS and one HEADERS frame whose fields are literals without indexing (RFC 7541 §6.2.2), as no client would send. */
function rawHttp2(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value, "latin1")]);
  const block = Buffer.concat(
    fields.map(([name, value]) => Buffer.concat([Buffer.from([0]), text(name), text(value)])),
  );
  const frame = (type: number, flags: number, stream: number, payload: Buffer) =>
    Buffer.concat([Buffer.from([0, payload.length >> 8, payload.length & 255, type, flags, 0, 0, 0, stream]), payload]);
  return Buffer.concat([
    Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    frame(4, 0, 0, Buffer.alloc(0)),
    frame(1, 5, 1, block),
  ]);
}
