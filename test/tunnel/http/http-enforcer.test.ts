import { once } from "node:events";
import { connect, createServer as createHttp2Server } from "node:http2";
import { createServer, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { protocolOf } from "../../../src/tunnel/http/protocol.ts";
import { unlessStalled } from "../../support/stalls.ts";
import {
  allowed,
  connectTo,
  converse,
  denied,
  type GateSetup,
  listen,
  type Policy,
  RawClient,
  until,
} from "./support/gate.ts";
import { Stage } from "./support/stage.ts";

const stage = new Stage();

afterEach(() => stage.close());

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** An application that is a script over its connection's bytes. */
async function bare(script: (socket: Socket, text: () => string) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    stage.add(() => socket.destroy());
    script(socket, () => text);
  });
  stage.add(() => server.close());
  return listen(server);
}

test.for<[string, string, ReturnType<typeof protocolOf>]>([
  ["nothing", "", undefined],
  ["an empty line", "\r\n", undefined],
  ["a method's beginning", "GE", undefined],
  ["a request line", "GET / HTTP/1.1\r\n", "http1"],
  ["a known method, whatever follows", "POST x", "http1"],
  ["an empty line before a request", "\r\nGET /", "http1"],
  ["an unknown method", "FROB /x HTTP/1.1\r\n", "http1"],
  ["an unknown method, unfinished", "FROB /x HT", undefined],
  ["words that are no request line", "HELO example.com\r\n", "not-http"],
  ["a preface's beginning", "PRI * HTTP/2.0\r\n\r\n", undefined],
  ["a preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", "http2"],
  ["a preface gone wrong", "PRI * HTTP/2.0\r\n\r\nSN", "not-http"],
  ["PRI as HTTP/1", "PRI /x HTTP/1.1\r\n", "not-http"],
  ["TLS", "\x16\x03\x01\x02\x00\x01", "not-http"],
  ["Redis", "*1\r\n$4\r\nPING\r\n", "not-http"],
  ["PostgreSQL", "\0\0\0\x08\x04\xd2\x16\x2f", "not-http"],
  ["a space first", " GET / HTTP/1.1\r\n", "not-http"],
  ["a line that never ends", "X".repeat(40), "not-http"],
  ["a request line that never ends", `FROB /${"x".repeat(9000)}`, "not-http"],
])("recognises %s", ([, text, expected]) => {
  expect(protocolOf(Buffer.from(text, "latin1"))).toBe(expected);
});

test.for([
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["SMTP", "HELO example.com\r\n"],
  ["a lone LF", "\n"],
])("resets a connection of %s", async ([, text = ""]) => {
  const opened = await stage.gate({ application: 1 });
  const client = await converse(opened.port, text);
  expect([client.text, client.error]).toEqual(["", "ECONNRESET"]);
  expect(opened.ends).toEqual(["not-http"]);
  expect(opened.dials).toBe(0);
});

test("lets go of a connection on which nothing is said", async () => {
  const opened = await stage.gate({ application: 1 });
  const client = await RawClient.open(opened.port, { allowHalfOpen: false });
  client.socket.end();
  await client.closed;
  expect(client.error).toBe("");
  await until(() => opened.ends.length === 1);
  expect(opened.ends).toEqual(["ok"]);
});

test("limits how long a client may take to say what it speaks, and to finish a header section", async () => {
  await unlessStalled(100, async () => {
    const opened = await stage.gate({ application: 1, options: { headerTimeout: 500 } });
    const silent = await converse(opened.port, "");
    expect(silent.error).toBe("ECONNRESET");
    const slow = await converse(opened.port, "GET / HTTP/1.1\r\nHost:");
    expect(slow.text).toMatch(/^HTTP\/1.1 408 /);
    expect(opened.ends[0]).toBe("not-http");
    expect(opened.records).toMatchObject([{ status: 408, reason: "malformed-request" }]);
  });
});

test("closes a connection between requests after its time, and limits the next header section", async () => {
  await unlessStalled(100, async () => {
    const { port } = await stage.application();
    const idle = await stage.gate({ application: port, options: { idleTimeout: 50 } });
    const quiet = await converse(idle.port, get("/"));
    expect(quiet.text).toContain("hello");
    expect(quiet.error).toBe("");
    const strict = await stage.gate({ application: port, options: { headerTimeout: 500 } });
    const slow = await RawClient.open(strict.port);
    slow.send(get("/"));
    await slow.reads("hello");
    slow.send("GET / HT");
    await slow.reads("HTTP/1.1 408 ");
    await slow.closed;
  });
});

test("takes a body at its own pace: no limit of header sections holds for it", async () => {
  await unlessStalled(100, async () => {
    const { port, seen } = await stage.application((_request, response, body) => response.end(`got ${body}`));
    const opened = await stage.gate({
      application: port,
      options: { headerTimeout: 500, idleTimeout: 500 },
      policy: ({ path }) => (path === "/no" ? denied : allowed),
    });
    for (const [path, answer] of [
      ["/yes", "got abcd"],
      ["/no", "RBAC: access denied"],
    ] as const) {
      const client = await RawClient.open(opened.port);
      client.send(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n`);
      for (const byte of "abcd") {
        await new Promise((resolve) => setTimeout(resolve, 200));
        client.send(byte);
      }
      await client.reads(answer);
      expect(client.text).not.toContain("408");
      client.close();
    }
    expect(seen.length).toBe(1);
  });
});

test("answers 503 with the reason when nobody listens, and closes", async () => {
  const opened = await stage.gate({ application: 1 });
  const client = await converse(opened.port, get("/"));
  expect(client.text).toMatch(/^HTTP\/1.1 503 Service Unavailable\r\n/);
  expect(client.text).toContain("x-warren-reason: connect-failed\r\n");
  expect(client.error).toBe("");
  expect(opened.records).toMatchObject([{ status: 503, reason: "connect-failed" }]);
});

test("gives up connecting when the client leaves", async () => {
  let aborted = false;
  const opened = await stage.gate({
    application: 1,
    dial: (signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          aborted = true;
          reject(new Error("given up"));
        });
      }),
  });
  const client = await RawClient.open(opened.port);
  client.send(get("/"));
  await until(() => opened.dials === 1);
  client.socket.resetAndDestroy();
  await until(() => aborted);
  await until(() => opened.records.length === 1);
  expect(opened.records).toMatchObject([{ status: 0, reason: "reset-by-source" }]);
});

test.for([
  ["a length and a coding", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["no HTTP", "-ERR unknown command\r\n"],
  ["a change of protocols that nobody asked for", "HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"],
])("answers 502 for an application's answer with %s", async ([, answer = ""]) => {
  const port = await bare((socket) => socket.once("data", () => socket.write(answer, "latin1")));
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, get("/"));
  expect(client.text).toMatch(/^HTTP\/1.1 502 Bad Gateway\r\n/);
  expect(opened.records).toMatchObject([{ status: 502, reason: "not-http" }]);
});

test("a reset before the answer is a reset for the client, as without the mesh", async () => {
  const port = await bare((socket) => socket.once("data", () => socket.resetAndDestroy()));
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, get("/"));
  expect([client.text, client.error]).toEqual(["", "ECONNRESET"]);
  expect(opened.ends).toEqual(["reset-by-destination"]);
});

test.for([
  ["a length", "Content-Length: 10\r\n\r\nhalf"],
  ["chunks", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
])("an answer with %s that breaks off is never a whole one for the client", async ([, rest]) => {
  const port = await bare((socket) => {
    socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\n${rest}`);
      socket.end();
    });
  });
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, get("/"));
  expect(client.error).toBe("ECONNRESET");
  expect(client.text).not.toMatch(/\r\n0\r\n\r\n$/);
  expect(opened.records).toMatchObject([{ reason: "reset-by-destination" }]);
});

test("an answer that ends with the application's connection ends whole", async () => {
  const port = await bare((socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.0 200 OK\r\n\r\nall of it");
      socket.end();
    });
  });
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, get("/"));
  expect(client.error).toBe("");
  expect(client.text).toMatch(/Connection: close\r\n/);
  expect(client.text).toMatch(/\r\n9\r\nall of it\r\n0\r\n\r\n$/);
  expect(opened.records).toMatchObject([{ reason: "ok", bytesReceived: 9 }]);
});

test("a client that leaves takes its request to the application with it", async () => {
  let left = false;
  const port = await bare((socket) => {
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
    socket.once("close", () => {
      left = true;
    });
    socket.once("end", () => socket.end());
  });
  const opened = await stage.gate({ application: port });
  const client = await RawClient.open(opened.port);
  client.send(get("/"));
  await client.reads("half");
  client.socket.resetAndDestroy();
  await until(() => left && opened.records.length === 1);
  expect(opened.records).toMatchObject([{ reason: "reset-by-source", status: 200 }]);
});

test("a client that ends its side still gets its answer", async () => {
  const { port } = await stage.application();
  const opened = await stage.gate({ application: port });
  const client = await RawClient.open(opened.port, { allowHalfOpen: true });
  client.socket.end(get("/"), "latin1");
  await client.reads("hello");
  await once(client.socket, "end");
  await until(() => opened.ends.length === 1);
  expect(opened.ends).toEqual(["ok"]);
});

test("an application that closes an idle connection closes the client's", async () => {
  const port = await bare((socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", () => setImmediate(() => socket.end()));
    });
  });
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, get("/"));
  expect(client.error).toBe("");
  expect(client.text).toMatch(/ok$/);
});

test("requests behind an answer that closes the connection are not sent on another", async () => {
  let requests = 0;
  const port = await bare((socket, text) => {
    socket.on("data", () => {
      requests += 1;
      socket.end("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    expect(text()).toBe("");
  });
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, get("/1") + get("/2"));
  expect(client.text.match(/HTTP\/1.1/g)).toEqual(["HTTP/1.1"]);
  expect(client.text).toMatch(/Connection: close/);
  expect(requests).toBe(1);
  expect(opened.dials).toBe(1);
});

test("cuts a refused client that goes on sending without end", async () => {
  const opened = await stage.gate({ application: 1, policy: () => denied, options: { lingerBytes: 1000 } });
  const client = await RawClient.open(opened.port);
  client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  await client.reads("RBAC: access denied");
  const chunk = `1000\r\n${"x".repeat(4096)}\r\n`;
  client.send(chunk.repeat(4));
  await client.closed;
  expect(opened.records).toMatchObject([{ status: 403, reason: "policy-denied" }]);
});

test("limits requests that wait for answers", async () => {
  const port = await bare(() => {});
  const opened = await stage.gate({ application: port, options: { maxConcurrentRequests: 10 } });
  const client = await converse(opened.port, get("/").repeat(50));
  expect(client.error).toBe("ECONNRESET");
  expect(opened.ends).toEqual(["limit-flows"]);
  await until(() => opened.upstreams === 0);
});

test("answers what was allowed before bytes that can't be read", async () => {
  const { port, seen } = await stage.application();
  const opened = await stage.gate({ application: port });
  const client = await converse(opened.port, `${get("/1")}GET /2 HTTP/1.1\r\nHost : a\r\n\r\n`);
  expect(client.text).toMatch(/^HTTP\/1.1 200 OK\r\n.*hello.*HTTP\/1.1 400 /s);
  expect(client.text).toContain("x-warren-reason: malformed-request\r\n");
  expect(seen.length).toBe(1);
});

test("a body that can't be read breaks its own request, on both sides", async () => {
  let broken = false;
  const port = await bare((socket) =>
    socket
      .once("close", () => {
        broken = true;
      })
      .once("end", () => socket.end()),
  );
  const opened = await stage.gate({ application: port });
  const client = await converse(
    opened.port,
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
  );
  expect(client.text).toMatch(/^HTTP\/1.1 400 /);
  await until(() => broken);
});

test("what the policy can't say is a refusal, and what throws is one too", async () => {
  const { port, seen } = await stage.application();
  const later = await stage.gate({ application: port, policy: () => ({ ...allowed, outcome: "needs-http" }) });
  expect((await converse(later.port, get("/").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))).text).toMatch(
    /^HTTP\/1.1 403 .*x-warren-reason: policy-unevaluable/s,
  );
  const broken = await stage.gate({
    application: port,
    policy: () => {
      throw new Error("no");
    },
  });
  const client = await RawClient.open(broken.port);
  client.send(get("/"));
  await client.reads(/^HTTP\/1.1 403 .*x-warren-reason: internal/s);
  client.close();
  expect(broken.errors.length).toBe(1);
  expect(seen).toEqual([]);
});

/** Everything is allowed until `forbid` is called. */
function changing(): { readonly policy: Policy; readonly forbid: () => void } {
  let verdict = allowed;
  return {
    policy: () => verdict,
    forbid: () => {
      verdict = denied;
    },
  };
}

test("a change of policy holds for the next request of an open connection", async () => {
  const { port } = await stage.application();
  const { policy, forbid } = changing();
  const opened = await stage.gate({ application: port, policy });
  const client = await RawClient.open(opened.port);
  client.send(get("/"));
  await client.reads("hello");
  forbid();
  opened.enforcer.rejudge();
  client.send(get("/"));
  await client.reads("RBAC: access denied");
  client.close();
});

test.for<[string, string, string, RegExp]>([
  [
    "before the answer has begun: 403",
    "",
    "403",
    /^HTTP\/1.1 403 .*x-warren-reason: policy-changed.*RBAC: access denied$/s,
  ],
  ["within the answer: a reset", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "half", /half$/],
  [
    "within a WebSocket: a reset",
    "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhalf",
    "half",
    /half$/,
  ],
])("a change of policy ends what it now forbids, %s", async ([, answer, mark, expected]) => {
  const port = await bare((socket) => {
    socket.once("data", () => socket.write(answer));
    socket.once("end", () => socket.end());
  });
  const { policy, forbid } = changing();
  const opened = await stage.gate({ application: port, policy });
  const client = await RawClient.open(opened.port);
  client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  await until(() => opened.upstreams === 1);
  if (answer !== "") await client.reads(mark);
  opened.enforcer.rejudge();
  expect(opened.records).toEqual([]);
  forbid();
  opened.enforcer.rejudge();
  await client.closed;
  expect(client.text).toMatch(expected);
  expect(opened.records).toMatchObject([{ reason: "policy-changed" }]);
  await until(() => opened.upstreams === 0);
});

test("a change of policy while the application is being dialled stops the request", async () => {
  let received = "";
  const port = await bare((socket) => socket.on("data", (chunk) => (received += chunk.toString())));
  const { policy, forbid } = changing();
  let dialled: (() => void) | undefined;
  const opened = await stage.gate({
    application: port,
    policy,
    dial: async () => {
      await new Promise<void>((resolve) => {
        dialled = resolve;
      });
      return connectTo(port);
    },
  });
  const client = await RawClient.open(opened.port);
  client.send(get("/"));
  await until(() => dialled !== undefined);
  forbid();
  opened.enforcer.rejudge();
  await client.reads("RBAC: access denied");
  dialled?.();
  await until(() => opened.upstreams === 1);
  expect(opened.records).toMatchObject([{ status: 403, reason: "policy-changed" }]);
  expect(received).toBe("");
  client.close();
});

test("a change of policy ends the HTTP/2 streams it forbids, and leaves the others", async () => {
  const server = createHttp2Server();
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    stream.write("begin");
  });
  const port = await listen(server);
  let forbidden = "none";
  const policy: GateSetup["policy"] = ({ path }) => (path === forbidden ? denied : allowed);
  const opened = await stage.gate({ application: port, policy });
  const session = connect(`http://127.0.0.1:${opened.port}`);
  session.on("error", () => {});
  stage.add(() => {
    session.destroy();
    server.close();
  });
  const begun = async (path: string) => {
    const stream = session.request({ ":path": path });
    stream.on("error", () => {});
    await once(stream, "data");
    return stream;
  };
  const [one, two] = [await begun("/one"), await begun("/two")];
  forbidden = "/one";
  opened.enforcer.rejudge();
  await once(one, "close");
  expect(opened.records).toMatchObject([{ path: "/one", reason: "policy-changed" }]);
  expect(two.closed).toBe(false);
});

test("a stop breaks all connections", async () => {
  const { port } = await stage.application();
  const opened = await stage.gate({ application: port });
  const client = await RawClient.open(opened.port);
  client.send(get("/"));
  await client.reads("hello");
  opened.enforcer.stop();
  opened.enforcer.stop();
  await client.closed;
  expect(opened.ends).toEqual(["agent-stopped"]);
  await until(() => opened.upstreams === 0 && opened.enforcer.size === 0);
});
