import { createServer } from "node:http";
import type { Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { allowed, converse, denied, type GateSetup, RawClient, until } from "./support/gate.ts";
import { Stage } from "./support/stage.ts";

const stage = new Stage();

afterEach(() => stage.close());

const onlyGet: GateSetup["policy"] = ({ method }) => (method === "GET" ? allowed : denied);

test("forwards an allowed request with its own fields and nothing invented", async () => {
  const { port, seen } = await stage.application((_request, response) => {
    response.sendDate = false;
    response.writeHead(200, "Fine", ["X-One", "1", "x-one", "2", "Content-Length", "2"]);
    response.end("ok");
  });
  const { port: entry, records } = await stage.gate({ application: port });
  const client = await converse(
    entry,
    "GET /a?b=c HTTP/1.1\r\nHost: Shop:80\r\nX-A: 1\r\nx-a: \xe9\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 1\r\n\r\n",
  );
  expect(client.text).toBe(
    "HTTP/1.1 200 Fine\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
  );
  expect(seen).toEqual([
    {
      line: "GET /a?b=c",
      headers: ["Host", "Shop:80", "X-A", "1", "x-a", "\xe9", "Connection", "keep-alive"],
      body: "",
      trailers: [],
    },
  ]);
  expect(records).toMatchObject([
    { protocol: "HTTP/1.1", method: "GET", host: "shop:80", path: "/a", status: 200, reason: "ok", policy: "a/b" },
  ]);
});

test("answers a refused request 403 and serves the next one on the same connection", async () => {
  const { port, seen } = await stage.application();
  const { port: entry, records, dials } = await stage.gate({ application: port, policy: onlyGet });
  const client = await RawClient.open(entry);
  client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /");
  await client.reads("RBAC: access denied");
  expect(client.text).toMatch(/^HTTP\/1.1 403 Forbidden\r\n/);
  expect(client.text).toContain("x-warren-reason: policy-denied\r\n");
  expect(dials).toBe(0);
  client.send("GET /y HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.reads("hello");
  expect(seen.map(({ line }) => line)).toEqual(["GET /y"]);
  expect(records.map(({ method, status, reason }) => [method, status, reason])).toEqual([
    ["POST", 403, "policy-denied"],
    ["GET", 200, "ok"],
  ]);
  client.close();
});

test("answers pipelined requests in their order, refused ones in between", async () => {
  const { port, seen } = await stage.application((request, response) => response.end(`[${request.url}]`));
  const { port: entry, dials } = await stage.gate({ application: port, policy: onlyGet });
  const one = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const client = await RawClient.open(entry);
  client.send(one("GET", "/1") + one("DELETE", "/2") + one("GET", "/3") + one("PUT", "/4") + one("GET", "/5"));
  await client.reads("[/5]");
  const order = client.text.match(/\[\/\d\]|RBAC/g);
  expect(order).toEqual(["[/1]", "RBAC", "[/3]", "RBAC", "[/5]"]);
  expect(seen.map(({ line }) => line)).toEqual(["GET /1", "GET /3", "GET /5"]);
  expect(dials).toBe(0);
  client.close();
});

test("uses one connection to the application for one of the client", async () => {
  const ports = new Set<number>();
  const { port } = await stage.application((request, response) => {
    ports.add(request.socket.remotePort ?? 0);
    response.end("hello");
  });
  const opened = await stage.gate({ application: port });
  const client = await RawClient.open(opened.port);
  for (let index = 1; index <= 3; index += 1) {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.reads(new RegExp(`(hello.*){${index}}`, "s"));
  }
  expect(ports.size).toBe(1);
  expect(opened.dials).toBe(1);
  client.close();
  await until(() => opened.upstreams === 0);
});

test("carries chunked bodies and trailers both ways, without what a trailer may not say", async () => {
  const { port, seen } = await stage.application((_request, response, body) => {
    response.writeHead(200, { trailer: "X-Sum" });
    response.write(body);
    response.addTrailers({ "X-Sum": "42" });
    response.end();
  });
  const { port: entry } = await stage.gate({ application: port });
  const client = await RawClient.open(entry);
  client.send(
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-End\r\n\r\n" +
      "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-End: 1\r\nAuthorization: none\r\n\r\n",
  );
  await client.reads("X-Sum: 42\r\n\r\n");
  expect(client.text).toContain("Transfer-Encoding: chunked\r\n");
  expect(seen[0]).toMatchObject({ body: "abcde", trailers: ["X-End", "1"] });
  expect(seen[0]?.headers).toContain("chunked");
  client.close();
});

test("passes 100 Continue on, and answers a refused request that waits for it at once", async () => {
  const { port, seen } = await stage.application((_request, response, body) => response.end(`got ${body}`));
  const { port: entry } = await stage.gate({
    application: port,
    policy: ({ path }) => (path === "/no" ? denied : allowed),
  });
  const head = (path: string) =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n`;
  const client = await RawClient.open(entry);
  client.send(head("/yes"));
  await client.reads("HTTP/1.1 100 Continue\r\n\r\n");
  client.send("body");
  await client.reads("got body");
  client.close();
  const refused = await RawClient.open(entry);
  refused.send(head("/no"));
  await refused.reads("RBAC: access denied");
  expect(refused.text).toMatch(/connection: close/i);
  expect(refused.text).not.toContain("100 Continue");
  await refused.closed;
  expect(seen.map(({ line }) => line)).toEqual(["POST /yes"]);
});

test("passes early hints on, but not to HTTP/1.0", async () => {
  const { port } = await stage.application((_request, response) => {
    response.writeEarlyHints({ link: "</a.css>; rel=preload" }, () => response.end("late"));
  });
  const { port: entry } = await stage.gate({ application: port });
  const client = await RawClient.open(entry);
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.reads("late");
  expect(client.text).toMatch(/^HTTP\/1.1 103 Early Hints\r\nLink: <\/a.css>; rel=preload\r\n\r\nHTTP\/1.1 200 OK/);
  client.close();
  const old = await converse(entry, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
  expect(old.text).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(old.text).not.toContain("103");
});

test.for([
  ["HEAD with a length", "HEAD", 200, ["Content-Length", "77"], /Content-Length: 77\r\n.*\r\n\r\n$/s],
  ["204", "GET", 204, [], /^HTTP\/1.1 204 No Content\r\n.*\r\n\r\n$/s],
  ["304 with a length", "GET", 304, ["Content-Length", "77", "ETag", "x"], /Content-Length: 77\r\nETag: x\r\n/],
] as const)("answers without a body stay so: %s", async ([, method, status, fields, expected]) => {
  const { port } = await stage.application((_request, response) => {
    response.writeHead(status, [...fields]);
    response.end();
  });
  const { port: entry } = await stage.gate({ application: port });
  const client = await RawClient.open(entry);
  client.send(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`);
  await client.reads("\r\n\r\n");
  expect(client.text).toMatch(expected);
  const first = client.text.length;
  // The next answer begins where this one's header section ended.
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.reads(new RegExp(`^.{${first}}HTTP/1.1 `, "s"));
  client.close();
});

test("speaks HTTP/1.0 with clients that do", async () => {
  const { port, seen } = await stage.application((_request, response) => {
    response.write("a");
    response.end("b");
  });
  const { port: entry } = await stage.gate({ application: port });
  const client = await converse(entry, "GET /old HTTP/1.0\r\n\r\n");
  expect(client.text).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(client.text).not.toMatch(/transfer-encoding/i);
  expect(client.text).toMatch(/\r\n\r\nab$/);
  expect(seen[0]?.headers.slice(0, 2)).toEqual(["Host", ""]);
});

test("matches and forwards an absolute target's authority, not the Host field", async () => {
  const { port, seen } = await stage.application();
  const hosts: string[] = [];
  const { port: entry } = await stage.gate({
    application: port,
    policy: ({ host }) => {
      hosts.push(host);
      return allowed;
    },
  });
  const client = await RawClient.open(entry);
  client.send("GET http://Real.example:8080/a?b HTTP/1.1\r\nHost: other\r\n\r\n");
  await client.reads("hello");
  expect(hosts).toEqual(["real.example:8080"]);
  expect(seen[0]?.line).toBe("GET /a?b");
  expect(seen[0]?.headers.slice(0, 2)).toEqual(["Host", "Real.example:8080"]);
  client.close();
});

test("matches and forwards one and the same normalised path", async () => {
  const { port, seen } = await stage.application();
  const paths: string[] = [];
  const { port: entry } = await stage.gate({
    application: port,
    policy: ({ path }) => {
      paths.push(path);
      return allowed;
    },
  });
  const client = await RawClient.open(entry);
  client.send("GET /a/./%62/..\\%2e%2e/c%2Fd//e;p=1?q=%2e%2e HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.reads("hello");
  expect(paths).toEqual(["/c%2Fd//e;p=1"]);
  expect(seen[0]?.line).toBe("GET /c%2Fd//e;p=1?q=%2e%2e");
  client.close();
});

test("refuses CONNECT: nobody could judge what goes through it", async () => {
  const { port, seen } = await stage.application();
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET /admin HTTP/1.1\r\n\r\n");
  expect(client.text).toMatch(/^HTTP\/1.1 403 Forbidden\r\n/);
  expect(client.text).toContain("x-warren-reason: policy-unevaluable\r\n");
  expect(seen).toEqual([]);
  expect(opened.dials).toBe(0);
});

test("serves a wish for h2c as HTTP/1.1, without passing the wish on", async () => {
  const { port, seen } = await stage.application();
  const { port: entry } = await stage.gate({ application: port });
  const client = await RawClient.open(entry);
  client.send(
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
  );
  await client.reads("hello");
  expect(seen[0]?.headers).toEqual(["Host", "a", "Connection", "keep-alive"]);
  client.close();
});

/** An echo that agrees to whatever it is asked to change to. */
async function echoing(): Promise<{ readonly port: number; readonly seen: string[] }> {
  const seen: string[] = [];
  const server = createServer({ insecureHTTPParser: false }, (_request, response) => response.end("plain"));
  server.on("upgrade", (request, socket, head) => {
    seen.push(`${request.url} ${request.headers.upgrade}`);
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-X: 1\r\n\r\n");
    socket.write(head);
    socket.pipe(socket);
    socket.on("error", () => {});
  });
  return { port: await stage.serve(server), seen };
}

const webSocket = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n`;

test("passes a WebSocket's bytes untouched once the application agreed, and ends with either side", async () => {
  const { port, seen } = await echoing();
  const opened = await stage.gate({ application: port });
  const client = await RawClient.open(opened.port);
  client.send(`${webSocket("/chat")}GET /not-http\x00\xff`);
  await client.reads("\x00\xff");
  expect(client.text).toBe(
    "HTTP/1.1 101 Switching Protocols\r\nSec-X: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /not-http\x00\xff",
  );
  client.socket.end();
  await client.closed;
  expect(client.error).toBe("");
  expect(seen).toEqual(["/chat websocket"]);
  expect(opened.records).toMatchObject([{ status: 101, reason: "ok", bytesSent: 15, bytesReceived: 15 }]);
  expect(opened.ends).toEqual(["ok"]);
});

test("refuses a WebSocket with 403 like any other request, and goes on", async () => {
  const { port, seen } = await echoing();
  const { port: entry } = await stage.gate({
    application: port,
    policy: ({ path }) => (path === "/chat" ? denied : allowed),
  });
  const client = await RawClient.open(entry);
  client.send(webSocket("/chat"));
  await client.reads("RBAC: access denied");
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.reads("\r\n\r\nplain");
  expect(seen).toEqual([]);
  client.close();
});

test("answers as the application does when it doesn't change protocols, then closes", async () => {
  const { port, seen } = await stage.application((_request, response) => {
    response.writeHead(426, { upgrade: "websocket", connection: "upgrade" });
    response.end("no");
  });
  const { port: entry } = await stage.gate({ application: port });
  const client = await converse(entry, `${webSocket("/")}GET /admin HTTP/1.1\r\nHost: a\r\n\r\n`);
  expect(client.text).toMatch(/^HTTP\/1.1 426 /);
  expect(client.text).toMatch(/\r\n\r\n2\r\nno\r\n0\r\n\r\n$|\r\n\r\nno$/);
  expect(seen.map(({ line }) => line)).toEqual(["GET /"]);
});

test("a WebSocket waits for the answers to requests before it", async () => {
  const { port, seen } = await echoing();
  const { port: entry } = await stage.gate({ application: port });
  const client = await RawClient.open(entry);
  client.send(`GET /1 HTTP/1.1\r\nHost: a\r\n\r\n${webSocket("/2")}bytes`);
  await client.reads(/\r\n\r\nplainHTTP\/1.1 101 .*\r\n\r\nbytes$/s);
  expect(seen).toEqual(["/2 websocket"]);
  client.close();
});

test("reads on at the right byte behind a wish that is not granted", async () => {
  const { port, seen } = await stage.application((request, response) => response.end(`[${request.url}]`));
  const opened = await stage.gate({ application: port, policy: ({ path }) => (path === "/2" ? denied : allowed) });
  const client = await RawClient.open(opened.port);
  const wish = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`;
  for (let round = 0; round < 12; round += 1) {
    client.send(
      `${wish(`/1/${round}`)}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n${wish("/2")}GET /3/${round} HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    await client.reads(`[/3/${round}]`);
  }
  expect(seen.map(({ line }) => line).slice(0, 3)).toEqual(["GET /1/0", "GET /3/0", "GET /1/1"]);
  expect(seen).toHaveLength(24);
  expect(opened.records).toHaveLength(48);
  expect(opened.dials).toBe(1);
  client.close();
});

test("a wish with a body is the last message of its connection", async () => {
  const { port, seen } = await stage.application((_request, response, body) => response.end(`got ${body}`));
  const opened = await stage.gate({ application: port });
  const client = await converse(
    opened.port,
    "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nbodyGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
  );
  expect(client.text).toMatch(/Connection: close\r\n.*got body$/s);
  expect(seen.map(({ line }) => line)).toEqual(["POST /1"]);
});

test("holds a client back when the application doesn't read", async () => {
  let arrived = 0;
  const stalled = createServer((request) => {
    request.pause();
    arrived += 1;
  });
  const opened = await stage.gate({ application: await stage.serve(stalled) });
  const client = await RawClient.open(opened.port);
  const total = 256 << 20;
  client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${total}\r\n\r\n`);
  await until(() => arrived === 1);
  const chunk = Buffer.alloc(1 << 20);
  let sent = 0;
  // Kernel buffers on two hops and a few of ours take some; most of it must stay with the client.
  while (sent < total && (await taken(client.socket, chunk))) sent += chunk.length;
  expect(sent).toBeLessThan(64 << 20);
  client.close();
});

/** False if the bytes were not taken within a time that is long for a loopback. */
function taken(socket: Socket, chunk: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), 500);
    socket.write(chunk, () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}
