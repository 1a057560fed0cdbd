import { describe, expect, it } from "vitest";
import { authorityDestination, formatAuthority, parseAuthority } from "../../../src/tunnel/wire/authority.ts";

describe("an authority", () => {
  it.each([
    ["10.0.0.7:8080", { kind: "address", address: "10.0.0.7", port: 8080 }],
    ["[fd00::7]:1", { kind: "address", address: "fd00::7", port: 1 }],
    ["[FD00:0:0:0::7]:65535", { kind: "address", address: "fd00::7", port: 65_535 }],
    ["[::ffff:10.0.0.7]:80", { kind: "address", address: "10.0.0.7", port: 80 }],
    ["web.test.svc.cluster.local:80", { kind: "hostname", hostname: "web.test.svc.cluster.local", port: 80 }],
    ["Web_1:80", { kind: "hostname", hostname: "web_1", port: 80 }],
  ])("of %s is read", (text, authority) => {
    expect(parseAuthority(text)).toEqual(authority);
  });

  it.each([
    "",
    ":",
    ":80",
    "host",
    "host:",
    "host:0",
    "host:65536",
    "host:-1",
    "host:8o",
    "host:080000",
    "10.0.0.7",
    "10.0.0.256:80",
    "10.0.0:80",
    "010.0.0.7:80",
    "0x0a000007:80",
    "a.b.1:80",
    "::1:80",
    "[::1]",
    "[::1]80",
    "[10.0.0.7]:80",
    "[host]:80",
    "[fe80::1%eth0]:80",
    "-host:80",
    "host-:80",
    "ho st:80",
    "user@host:80",
    "host/path:80",
    "host..name:80",
    `${"a".repeat(64)}:80`,
    `${"a.".repeat(127)}aa:80`,
    "http://host:80",
  ])("of %o is refused", (text) => {
    expect(parseAuthority(text)).toBeUndefined();
  });

  it("is printed with brackets around IPv6", () => {
    expect(formatAuthority({ address: "fd00::7", port: 80 })).toBe("[fd00::7]:80");
    expect(formatAuthority({ address: "10.0.0.7", port: 80 })).toBe("10.0.0.7:80");
  });

  it("names its destination in listings", () => {
    expect(authorityDestination({ kind: "hostname", hostname: "web", port: 1 })).toEqual({ address: "web", port: 1 });
    expect(authorityDestination({ kind: "address", address: "::1", port: 1 })).toEqual({ address: "::1", port: 1 });
  });
});
