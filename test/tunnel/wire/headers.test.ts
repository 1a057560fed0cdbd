import type { IncomingHttpHeaders } from "node:http2";
import { describe, expect, it } from "vitest";
import { reasonInfo, reasons } from "../../../src/model/reason.ts";
import { formatForwarded, forwardedHost } from "../../../src/tunnel/wire/forwarded.ts";
import { headerText, isHeaderText } from "../../../src/tunnel/wire/header-text.ts";
import { describeRefusal, isRetryable, readRefusal, refusalHeaders } from "../../../src/tunnel/wire/refusal.ts";
import { isTraceparent, newTraceparent } from "../../../src/tunnel/wire/traceparent.ts";

describe("`forwarded`", () => {
  it.each([
    [{ address: "10.0.0.9", port: 1234 }, "", 'for="10.0.0.9:1234"'],
    [{ address: "fd00::9", port: 1 }, "", 'for="[fd00::9]:1"'],
    [{ address: "10.0.0.9", port: 1 }, "web.test.svc", 'for="10.0.0.9:1";host=web.test.svc'],
    [{ address: "10.0.0.9", port: 1 }, "web:80", 'for="10.0.0.9:1";host="web:80"'],
    [{ address: "10.0.0.9", port: 1 }, 'a"b', 'for="10.0.0.9:1";host="a\\"b"'],
  ])("of %o for %o is %s", (source, host, text) => {
    expect(formatForwarded(source, host)).toBe(text);
    expect(forwardedHost(text)).toBe(host);
  });

  it.each([
    ["", ""],
    ["for=1.2.3.4", ""],
    ["for=1.2.3.4;Host=Web", "web"],
    ["host=first;host=second", "first"],
    ["for=a;proto=http, for=b;host=proxy", ""],
    ['for="quoted;host=inside"', ""],
    ["host=web;", "web"],
    ["host=", ""],
    ["host=a b", ""],
    ["garbage", ""],
    [";;;", ""],
  ])("%o names the host %o", (text, host) => {
    expect(forwardedHost(text)).toBe(host);
  });
});

describe("a header's text", () => {
  it.each([
    [undefined, ""],
    ["  k=v ", "k=v"],
    [["a=1", "b=2"], "a=1, b=2"],
    ["x".repeat(8192), "x".repeat(8192)],
    ["x".repeat(8193), ""],
    ["new\nline", ""],
    ["tab\t", ""],
    ["ümlaut", ""],
    ["nul\0", ""],
  ])("of %o is %o", (value, text) => {
    expect(headerText(value === undefined ? {} : { baggage: value }, "baggage")).toBe(text);
  });

  it("is the same rule for what is sent", () => {
    expect(isHeaderText("k8s.namespace.name=test")).toBe(true);
    expect(isHeaderText("a\r\nb: c")).toBe(false);
  });
});

describe("`traceparent`", () => {
  it("is fresh and well formed each time", () => {
    const made = Array.from({ length: 50 }, () => newTraceparent("unsampled"));
    expect(made.every(isTraceparent)).toBe(true);
    expect(new Set(made).size).toBe(50);
    expect(made[0]).toMatch(/-00$/);
    expect(newTraceparent("sampled")).toMatch(/-01$/);
  });

  it.each([
    "",
    `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    `00-${"0".repeat(52)}`,
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
  ])("%o is none", (text) => {
    expect(isTraceparent(text)).toBe(false);
  });
});

/** Headers as node:http2 hands them over; its types know the status as text only. */
function answer(status: number, reason?: string): IncomingHttpHeaders {
  const headers: unknown = { ":status": status, ...(reason === undefined ? {} : { "x-warren-reason": reason }) };
  return headers as IncomingHttpHeaders;
}

describe("a refusal", () => {
  it.each(reasons.map((reason) => [reason]))("for %s can be read back by the peer", (reason) => {
    const headers = refusalHeaders(reason);
    const { status } = reasonInfo(reason);
    expect(headers[":status"]).toBe(status === 200 ? 503 : status);
    expect(readRefusal(answer(Number(headers[":status"]), reason))).toEqual({ status: headers[":status"], reason });
  });

  it.each([
    [200, undefined, undefined],
    [204, undefined, undefined],
    [401, undefined, "401"],
    [503, "no-endpoint", "503 no-endpoint"],
    [503, "made up\n", "503"],
    [302, undefined, "302"],
  ])("of %i with the reason %o is described as %o", (status, reason, text) => {
    const refusal = readRefusal(answer(status, reason));
    expect(refusal === undefined ? undefined : describeRefusal(refusal)).toBe(text);
  });

  it("is worth another endpoint only when it is a failure", () => {
    expect([400, 401, 403, 503].map((status) => isRetryable({ status, reason: undefined }))).toEqual([
      false,
      false,
      false,
      true,
    ]);
  });
});
