import { describe, expect, it } from "vitest";
import { der, derTag, objectIdentifier } from "../../src/lib/der.ts";
import { derElement, derElements } from "../../src/lib/der-reader.ts";

describe("DER", () => {
  it("that lib/der.ts wrote is read back", () => {
    const long = Buffer.alloc(70_000, 7);
    const bytes = der(derTag.sequence, objectIdentifier("1.2.840.10045.4.3.2"), der(derTag.octetString, long));
    const element = derElement(bytes);
    expect(element.tag).toBe(derTag.sequence);
    const [oid, octets] = derElements(element.contents);
    expect(oid?.contents.toString("hex")).toBe("2a8648ce3d040302");
    expect(octets?.contents.equals(long)).toBe(true);
    expect(octets?.raw.length).toBe(long.length + 5);
  });

  it("of nothing has no elements", () => {
    expect(derElements(Buffer.alloc(0))).toEqual([]);
  });

  it.each([
    ["only a tag", "30"],
    ["a length beyond the end", "300501"],
    ["a length of lengths beyond the end", "3084ffff"],
    ["an indefinite length", "30800000"],
    ["a length of five bytes", "30850000000001ff"],
    ["a tag of several bytes", "1f8101"],
  ])("with %s is malformed", (_title, hex) => {
    expect(() => derElements(Buffer.from(hex, "hex"))).toThrow(expect.objectContaining({ code: "MESH_DER_MALFORMED" }));
  });

  it("with bytes after its one element is malformed", () => {
    expect(() => derElement(Buffer.from("020101020102", "hex"))).toThrow(/after the end/);
  });
});
