import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { afterEach, expect, test } from "vitest";
import { allowed, converse, denied, Gate, type GateSetup, listen, RawClient, until } from "./support/gate.ts";

const running: { close(): unknown }[] = [];

afterEach(async () => {
  for (const part of running.splice(0).reverse()) await part.close();
});

/** What the application saw of a request. */
interface Seen {
  readonly line: string;
  readonly headers: readonly string[];
  body: string;
  trailers: readonly string[];
}

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

async function application(answer: Answer = (_request, response) => response.end("hello")): Promise<{
  readonly port: number;
  readonly seen: Seen[];
  readonly server: Server;
}> {
  const seen: Seen[] = [];
  const server = createServer({ requireHostHeader: false }, (request, response) => {
    const one: Seen = { line: `${request.method} ${request.url}`, headers: request.rawHeaders, body: "", trailers: [] };
    seen.push(one);
    request.setEncoding("latin1");
    request.on("data", (chunk: string) => {
      one.body += chunk;
    });
    request.on("error", () => {});
    request.on("end", () => {
      one.trailers = request.rawTrailers;
      answer(request, response, one.body);
    });
  });
  server.on("checkContinue", (request, response) => {
    response.writeContinue();
    server.emit("request", request, response);
  });
  const port = await listen(server);
  running.push({ close: () => (server.closeAllConnections(), server.close()) });
  return { port, seen, server };
}

async function gate(setup: GateSetup): Promise<Gate> {
  const opened = await Gate.open(setup);
  running.push(opened);
  return opened;
}

const onlyGet: GateSetup["policy"] = ({ method }) => (method === "GET" ? allowed : denied);

test("forwards an allowed request with its own fields and nothing invented", async () => {
  const { port, seen } = await application((_request, response) => {
    response.sendDate = false;
    response.writeHead(200, "Fine", ["X-One", "1", "x-one", "2", "Content-Length", "2"]);
    response.end("ok");
  });
  const { port: entry, records } = await gate({ application: port });
  const client = await converse(
    entry,
    "GET /a?b=c HTTP/1.1\r\nHost: Shop:80\r\nX-A: 1\r\nx-a: \xe9\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 1\r\n\r\n",
  );
  expect(client.text).toBe("HTTP/1.1 200 Fine\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
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
  const { port, seen } = await application();
  const { port: entry, records, dials } = await gate({ application: port, policy: onlyGet });
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
