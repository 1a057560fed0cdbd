import { describe, expect, it } from "vitest";
import { formatHostPort, parseHostPort } from "../../src/lib/host-port.ts";

describe("host and port", () => {
  it.each([
    ["10.0.0.1:15012", { host: "10.0.0.1", port: 15012 }],
    ["[::1]:0", { host: "::1", port: 0 }],
    ["control.mesh.svc:65535", { host: "control.mesh.svc", port: 65_535 }],
  ])("%s is understood", (text, expected) => {
    expect(parseHostPort(text)).toEqual(expected);
    expect(formatHostPort(expected.host, expected.port)).toBe(text);
  });

  it.each(["", ":1", "host", "host:", "host:65536", "::1:80", "a b:1", "http://h:1", "[host]:1"])("%j is not", (text) =>
    expect(parseHostPort(text)).toBeUndefined(),
  );
});
