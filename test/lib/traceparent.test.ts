import { describe, expect, it } from "vitest";
import { formatTraceparent, parseTraceparent } from "../../src/lib/traceparent.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";

describe("traceparent", () => {
  it.each([
    ["01", true],
    ["00", false],
    // Other flags say nothing about sampling (W3C Trace Context §3.2.2.5).
    ["02", false],
    ["ff", true],
  ])("is read with the flags %s", (flags, sampled) => {
    expect(parseTraceparent(`00-${traceId}-${spanId}-${flags}`)).toEqual({ traceId, spanId, sampled });
  });

  it.each([
    "",
    `00-${"0".repeat(32)}-${spanId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `01-${traceId}-${spanId}-01`,
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${traceId}-${spanId}-1`,
    `00-${traceId}-${spanId}-01\n`,
    ` 00-${traceId}-${spanId}-01`,
    `00-${"0".repeat(52)}`,
  ])("is not %o", (text) => {
    expect(parseTraceparent(text)).toBeUndefined();
  });

  it.each([true, false])("is written as it is read, sampled %s", (sampled) => {
    expect(parseTraceparent(formatTraceparent({ traceId, spanId, sampled }))).toEqual({ traceId, spanId, sampled });
  });
});
