import { expect, test } from "vitest";
import { pemBlocks, toPem } from "../../src/lib/pem.ts";

test("blocks of one label come out in order, whatever is around them", () => {
  const [a, b, key] = [
    toPem("CERTIFICATE", Buffer.alloc(100, 1)),
    toPem("CERTIFICATE", Buffer.from([2])),
    toPem("PRIVATE KEY", Buffer.from([3])),
  ];
  expect(pemBlocks(`subject: x\r\n${a}${key}\n\n# comment\n${b}`, "CERTIFICATE")).toEqual([a, b]);
  expect(pemBlocks(a + key, "PRIVATE KEY")).toEqual([key]);
});

test("lines have 64 characters", () => {
  const lines = toPem("X", Buffer.alloc(100)).trim().split("\n").slice(1, -1);
  expect(lines.map((line) => line.length)).toEqual([64, 64, 8]);
});

test.each(["", "-----BEGIN CERTIFICATE-----\nAAAA", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"])(
  "%j has no block",
  (text) => {
    expect(pemBlocks(text, "CERTIFICATE")).toEqual([]);
  },
);
