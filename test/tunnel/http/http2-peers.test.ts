import { spawn } from "node:child_process";
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
import { allowed, denied, type Gate } from "./support/gate.ts";
import { http2Application, notAdmin } from "./support/http2.ts";
import { Stage } from "./support/stage.ts";

const stage = new Stage();

afterEach(() => stage.close());

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
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: 100_000 });
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
  const http2 = await http2Application(stage, (stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(`two ${headers[":path"]}`);
  });
  const one = await stage.gate({ application: http1.port, policy: notAdmin });
  const two = await stage.gate({ application: http2.port, policy: notAdmin });
  const url = (gate: Gate, path: string) => `http://127.0.0.1:${gate.port}${path}`;
  const curl = (...args: string[]) =>
    run("curl", ["--silent", "--max-time", "60", "--write-out", " %{http_code} %{http_version}", ...args]);
  expect(await curl(url(one, "/shop"))).toBe("GET /shop 200 1.1");
  expect(await curl("--data", "x=1", url(one, "/admin/x"))).toBe("RBAC: access denied 403 1.1");
  expect(await curl("--http2", url(one, "/shop"))).toBe("GET /shop 200 1.1");
  expect(await curl("--http1.0", url(one, "/shop"))).toBe("GET /shop 200 1.1");
  expect(await curl("--path-as-is", url(one, "/shop/../admin"))).toBe("RBAC: access denied 403 1.1");
  expect(await curl("--http2-prior-knowledge", url(two, "/shop"))).toBe("two /shop 200 2");
  expect(await curl("--http2-prior-knowledge", url(two, "/admin"))).toBe("RBAC: access denied 403 2");
});

test("serves nghttp with prior knowledge, several streams at once", async () => {
  const { port } = await http2Application(stage, (stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(`${headers[":path"]};`);
  });
  const { port: entry } = await stage.gate({ application: port, policy: notAdmin });
  const base = `http://127.0.0.1:${entry}`;
  const out = await run("nghttp", ["--timeout=60", `${base}/one`, `${base}/two`, `${base}/admin`]);
  for (const part of ["/one;", "/two;", "RBAC: access denied"]) expect(out).toContain(part);
});
