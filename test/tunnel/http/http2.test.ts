import { connect, constants } from "node:http2";
import { afterEach, expect, test } from "vitest";
import { resetStream } from "../../../src/tunnel/typescript/leg.ts";
import { connectTo, until } from "./support/gate.ts";
import { ask, get, http2Application, http2Client, notAdmin } from "./support/http2.ts";
import { Stage } from "./support/stage.ts";

const stage = new Stage();

afterEach(() => stage.close());

test("forwards an allowed stream with its own fields, and its answer with trailers", async () => {
  const { port, seen } = await http2Application(stage, (stream) => {
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
  const answer = await ask(http2Client(stage, opened.port), fields, "body");
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
  const { port, seen } = await http2Application(stage, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("hello");
  });
  const opened = await stage.gate({ application: port, policy: notAdmin });
  const session = http2Client(stage, opened.port);
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
  const { port } = await http2Application(stage, (stream) => {
    stream.additionalHeaders({ ":status": 103, link: "</a.css>" });
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const { port: entry } = await stage.gate({ application: port });
  const stream = http2Client(stage, entry).request(get("/"));
  const interim: (number | undefined)[] = [];
  stream.on("headers", (headers) => interim.push(headers[":status"]));
  stream.resume();
  await new Promise((resolve) => stream.once("close", resolve));
  expect(interim).toEqual([103]);
});

test("carries resets in both directions with their code", async () => {
  const codes: (number | undefined)[] = [];
  const { port } = await http2Application(stage, (stream, headers) => {
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
  const session = http2Client(stage, opened.port);
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
  const { port } = await http2Application(stage, (stream) => {
    stream.respond({ ":status": 200 });
    stream.pause();
  });
  const { port: entry } = await stage.gate({ application: port });
  const stream = http2Client(stage, entry).request(
    [":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"],
    {
      endStream: false,
    },
  );
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
  const { port, seen } = await http2Application(stage, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const { port: entry } = await stage.gate({ application: port, policy: notAdmin });
  const answer = await ask(http2Client(stage, entry), fields);
  expect(answer.status).toBe(expected);
  expect(seen).toEqual([]);
});

test("answers 503 with the reason when nobody listens", async () => {
  const opened = await stage.gate({ application: 1 });
  const answer = await ask(http2Client(stage, opened.port), get("/"));
  expect(answer.status).toBe(503);
  expect(answer.headers.join(" ")).toContain("x-warren-reason connect-failed");
  expect(opened.records).toMatchObject([{ reason: "connect-failed", status: 503 }]);
});

test("answers 502 when the application speaks no HTTP/2", async () => {
  const { port } = await stage.application();
  const { port: entry } = await stage.gate({ application: port });
  const answer = await ask(http2Client(stage, entry), get("/"));
  expect(answer.status).toBe(502);
});

test("ends with the client's connection, and the application's with it", async () => {
  const { port } = await http2Application(stage, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end();
  });
  const opened = await stage.gate({ application: port });
  const session = http2Client(stage, opened.port);
  await ask(session, get("/"));
  expect(opened.upstreams).toBe(1);
  session.close();
  await until(() => opened.upstreams === 0 && opened.ends.length === 1);
  expect(opened.ends).toEqual(["ok"]);
});

test.for(["a drain", "idle time"])("says goodbye before it closes a connection: %s", async (why) => {
  const { port } = await http2Application(stage, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("hello");
  });
  const opened = await stage.gate({ application: port, options: why === "idle time" ? { idleTimeout: 500 } : {} });
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
  const { port } = await http2Application(stage, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("last");
    stream.session?.goaway();
  });
  const { port: entry } = await stage.gate({ application: port });
  const session = http2Client(stage, entry);
  const closed = new Promise((resolve) => session.once("close", resolve));
  const answer = await ask(session, get("/"));
  expect(answer.body).toBe("last");
  await closed;
});
