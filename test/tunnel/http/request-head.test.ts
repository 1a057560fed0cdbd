import { describe, expect, test } from "vitest";
import { endToEnd, forwardableTrailers } from "../../../src/tunnel/http/fields.ts";
import {
  asksForWebSocket,
  type HeadReading,
  readHttp1Head,
  readHttp2Head,
} from "../../../src/tunnel/http/request-head.ts";

const read1 = (fields: readonly string[], overrides: { method?: string; url?: string; httpVersion?: string } = {}) =>
  readHttp1Head({ method: "GET", url: "/", httpVersion: "1.1", rawHeaders: fields, ...overrides });

const told = (reading: HeadReading): string => (reading.kind === "malformed" ? `${reading.status}` : reading.kind);

const headOf = (reading: HeadReading) => {
  if (reading.kind !== "head") throw new Error(`no head but ${reading.kind}`);
  return reading.head;
};

describe("HTTP/1", () => {
  test.for<[string, readonly string[], Parameters<typeof read1>[1], string]>([
    ["no Host", [], {}, "400"],
    ["no Host in HTTP/1.0", [], { httpVersion: "1.0" }, "head"],
    ["an empty Host", ["Host", ""], {}, "head"],
    ["two Hosts", ["Host", "a", "host", "a"], {}, "400"],
    ["a Host with a user", ["Host", "u@a"], {}, "400"],
    ["a Host with a path", ["Host", "a/b"], {}, "400"],
    ["a Host list", ["Host", "a, b"], {}, "400"],
    ["an IPv6 Host", ["Host", "[::1]:80"], {}, "head"],
    ["HTTP/0.9", ["Host", "a"], { httpVersion: "0.9" }, "505"],
    ["HTTP/2.0", ["Host", "a"], { httpVersion: "2.0" }, "505"],
    ["a coding beside chunked", ["Host", "a", "Transfer-Encoding", "gzip, chunked"], {}, "501"],
    ["two codings", ["Host", "a", "Transfer-Encoding", "x", "Transfer-Encoding", "chunked"], {}, "501"],
    ["a coding in HTTP/1.0", ["Host", "a", "Transfer-Encoding", "chunked"], { httpVersion: "1.0" }, "400"],
    ["framing with an underscore", ["Host", "a", "Content_Length", "1"], {}, "400"],
    ["*", ["Host", "a"], { url: "*" }, "400"],
    ["* with OPTIONS", ["Host", "a"], { url: "*", method: "OPTIONS" }, "head"],
    ["a target of another scheme", ["Host", "a"], { url: "ftp://a/" }, "400"],
    ["an absolute target without a host", ["Host", "a"], { url: "http:///x" }, "400"],
    ["an absolute target with a user", ["Host", "a"], { url: "http://u@a/x" }, "400"],
    ["CONNECT", ["Host", "a"], { url: "a:1", method: "CONNECT" }, "connect"],
  ])("%s", ([, fields, overrides, expected]) => {
    expect(told(read1(fields, overrides))).toBe(expected);
  });

  test("policies see the fields that are forwarded, and no others", () => {
    const { facts, fields, authority } = headOf(
      read1([
        "Host",
        "Shop:8080",
        "X-A",
        "1",
        "Connection",
        "close, x-b, host, content-length",
        "x-a",
        "2",
        "X-B",
        "3",
        "TE",
        "x",
      ]),
    );
    expect(fields).toEqual(["X-A", "1", "x-a", "2"]);
    expect(authority).toBe("Shop:8080");
    expect(facts.host).toBe("shop:8080");
    expect([facts.header("x-a"), facts.header("x-b"), facts.header("te"), facts.header("host")]).toEqual([
      ["1", "2"],
      [],
      [],
      ["Shop:8080"],
    ]);
  });

  test("an absolute target's authority takes the Host's place", () => {
    const { facts, target, authority } = headOf(read1(["Host", "a"], { url: "HTTP://B:1?x" }));
    expect([facts.host, facts.path, target, authority]).toEqual(["b:1", "/", "/?x", "B:1"]);
  });

  test.for<[string, readonly string[], { method?: string; httpVersion?: string }, boolean]>([
    ["a WebSocket", ["Connection", "keep-alive, Upgrade", "Upgrade", "WebSocket"], {}, true],
    ["without Connection", ["Upgrade", "websocket"], {}, false],
    ["h2c", ["Connection", "Upgrade", "Upgrade", "h2c"], {}, false],
    ["with a body", ["Connection", "Upgrade", "Upgrade", "websocket", "Content-Length", "0"], {}, false],
    ["POST", ["Connection", "Upgrade", "Upgrade", "websocket"], { method: "POST" }, false],
    ["HTTP/1.0", ["Connection", "Upgrade", "Upgrade", "websocket"], { httpVersion: "1.0" }, false],
  ])("asks for a WebSocket: %s", ([, rawHeaders, overrides, expected]) => {
    expect(asksForWebSocket({ method: "GET", url: "/", httpVersion: "1.1", rawHeaders, ...overrides })).toBe(expected);
  });
});

describe("HTTP/2", () => {
  test("cookies that were cut into several fields are one to policies, and forwarded as they came", () => {
    const { facts, fields } = headOf(
      readHttp2Head([
        ":method",
        "GET",
        ":scheme",
        "http",
        ":path",
        "/",
        ":authority",
        "a",
        "cookie",
        "a=1",
        "cookie",
        "b=2",
      ]),
    );
    expect(facts.header("cookie")).toEqual(["a=1; b=2"]);
    expect(fields).toEqual(["cookie", "a=1", "cookie", "b=2"]);
  });

  test("a Host that says what :authority says is the same", () => {
    const { facts, fields } = headOf(
      readHttp2Head([":method", "GET", ":scheme", "https", ":path", "/", ":authority", "A", "host", "a"]),
    );
    expect([facts.host, fields]).toEqual(["a", []]);
  });
});

test("fields of one connection are not sent on", () => {
  const own = [
    "Keep-Alive",
    "1",
    "Proxy-Connection",
    "x",
    "Upgrade",
    "x",
    "HTTP2-Settings",
    "x",
    "Transfer-Encoding",
    "x",
  ];
  expect(endToEnd([...own, "Connection", "x-own", "X-Own", "1", "X-Other", "2"])).toEqual(["X-Other", "2"]);
});

test("trailers that come too late to mean anything are dropped", () => {
  expect(forwardableTrailers(["grpc-status", "0", "Content-Length", "1", "Authorization", "x", "Host", "y"])).toEqual([
    "grpc-status",
    "0",
  ]);
});
