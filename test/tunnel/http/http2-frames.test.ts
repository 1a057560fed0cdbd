import { afterEach, expect, test } from "vitest";
import { allowed, converse, RawClient, until } from "./support/gate.ts";
import { http2Application } from "./support/http2.ts";
import { Stage } from "./support/stage.ts";

const stage = new Stage();

afterEach(() => stage.close());

test("takes the Host of a client that sends no :authority", async () => {
  const { port, seen } = await http2Application(stage, (stream) => {
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
  const { port, seen } = await http2Application(stage, (stream) => {
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
  const { port, seen } = await http2Application(stage, (stream) => {
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
