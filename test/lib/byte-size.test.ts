import { describe, expect, it } from "vitest";
import { formatByteSize, parseByteSize } from "../../src/lib/byte-size.ts";

describe("sizes", () => {
  it.each([
    ["0", 0],
    ["17", 17],
    ["17B", 17],
    ["64KiB", 65_536],
    ["4MiB", 4_194_304],
    ["1GiB", 1_073_741_824],
  ])("%s is %d bytes", (text, expected) => expect(parseByteSize(text)).toBe(expected));

  it.each(["", "KiB", "1kb", "1.5MiB", "-1", "1 MiB", "99999999999GiB"])("%j is no size", (text) =>
    expect(parseByteSize(text)).toBeUndefined(),
  );

  it.each([0, 1, 1023, 1024, 65_537, 4_194_304, 1_073_741_824])("%d bytes survive being written and read", (bytes) =>
    expect(parseByteSize(formatByteSize(bytes))).toBe(bytes),
  );
});
