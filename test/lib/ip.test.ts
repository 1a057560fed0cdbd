import { describe, expect, test } from "vitest";
import {
  canonicalIp,
  cidrContains,
  formatCidr,
  ipBytes,
  ipFamily,
  ipFromBytes,
  isLoopback,
  parseCidr,
} from "../../src/lib/ip.ts";

describe("canonicalIp", () => {
  test.each([
    ["10.0.0.1", "10.0.0.1"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["::ffff:a00:1", "10.0.0.1"],
    ["::", "::"],
  ])("writes %s as %s", (text, canonical) => {
    expect(canonicalIp(text)).toBe(canonical);
  });

  test.each([
    "",
    "10.0.0",
    "010.0.0.1",
    "0x0a.0.0.1",
    "10.0.0.256",
    "fe80::1%eth0",
    "10.0.0.1/32",
    "[::1]",
    "localhost",
  ])("refuses %s", (text) => {
    expect(canonicalIp(text)).toBeUndefined();
  });
});

describe("parseCidr", () => {
  test.each([
    ["10.1.2.3/16", "10.1.0.0/16"],
    ["10.1.2.3", "10.1.2.3/32"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["2001:db8::1/33", "2001:db8::/33"],
    ["::ffff:10.1.2.3/104", "10.0.0.0/8"],
    ["::1", "::1/128"],
  ])("reads %s as %s", (text, printed) => {
    const cidr = parseCidr(text);
    expect(cidr && formatCidr(cidr)).toBe(printed);
  });

  test.each([
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "10.0.0.0/08",
    "::/129",
    "::ffff:10.0.0.0/8",
    "x/8",
    "10.0.0.0/8/8",
  ])("refuses %s", (text) => {
    expect(parseCidr(text)).toBeUndefined();
  });

  test.each([
    ["10.0.0.0/9", "10.127.255.255", true],
    ["10.0.0.0/9", "10.128.0.0", false],
    ["0.0.0.0/0", "255.255.255.255", true],
    ["0.0.0.0/0", "::1", false],
    ["::/0", "10.0.0.1", false],
    ["2001:db8::/45", "2001:db8:7:ffff::1", true],
    ["2001:db8::/45", "2001:db8:8::1", false],
    ["10.0.0.0/8", "::ffff:10.2.3.4", true],
  ])("block %s holds %s: %s", (block, address, holds) => {
    const cidr = parseCidr(block);
    const bytes = ipBytes(address);
    expect(cidr !== undefined && bytes !== undefined && cidrContains(cidr, bytes)).toBe(holds);
  });
});

test("bytes come back as the canonical text", () => {
  for (const text of ["10.0.0.1", "2001:db8::1"]) expect(ipFromBytes(ipBytes(text) ?? [])).toBe(text);
  expect(ipFromBytes([1, 2, 3])).toBeUndefined();
});

test.each(["0.0.0.0", "255.255.255.255", "10.0.0.1"])("bytes of %s are read", (text) => {
  expect(ipBytes(text)).toEqual(text.split(".").map(Number));
});

test.each(["", "1.2.3", "1.2.3.4.5", "1..2.3", "1.2.3.", "01.2.3.4", "1.2.3.256", "1.2.3.x", "1.2.3.1000"])(
  "%s has no bytes",
  (text) => {
    expect(ipBytes(text)).toBeUndefined();
  },
);

test("family and loopback are told from the canonical text", () => {
  expect([ipFamily("10.0.0.1"), ipFamily("::1")]).toEqual([4, 6]);
  expect(["127.0.0.1", "127.9.9.9", "::1", "128.0.0.1", "::2"].map(isLoopback)).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
});
