import { describe, expect, test } from "vitest";
import { bitString, contextTag, der, derTag, objectIdentifier } from "../../src/lib/der.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("lengths take as few bytes as they can", () => {
  test.each([
    [0, "0400"],
    [1, "0401"],
    [127, "047f"],
    [128, "048180"],
    [255, "0481ff"],
    [256, "04820100"],
    [65_535, "0482ffff"],
    [65_536, "0483010000"],
  ])("%i", (length, head) => {
    const bytes = der(derTag.octetString, Buffer.alloc(length));
    expect(hex(bytes.subarray(0, head.length / 2))).toBe(head);
    expect(bytes.length).toBe(head.length / 2 + length);
  });
});

test.each([
  ["2.5.29.17", "0603551d11"],
  ["1.2.840.10045.4.3.2", "06082a8648ce3d040302"],
  ["1.2.840.113549.1.9.14", "06092a864886f70d01090e"],
  ["1.3.6.1.5.5.7.3.2", "06082b06010505070302"],
])("object identifier %s", (dotted, expected) => {
  expect(hex(objectIdentifier(dotted))).toBe(expected);
});

test("context tags and bit strings", () => {
  expect(contextTag(6, "primitive")).toBe(0x86);
  expect(contextTag(0, "constructed")).toBe(0xa0);
  expect(hex(bitString(Buffer.from([1, 2])))).toBe("0303000102");
});
