import { toBinary } from "@bufbuild/protobuf";
import { TimestampSchema, timestampMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { wireTime } from "../../src/xds/wire-time.ts";

test.each([0, 1_700_000_000_000, 1_700_000_000_000.375, 1_700_000_000_000.75, 1_700_000_000_123.0625, -1.5])(
  "%d milliseconds can be encoded, and keep their millisecond",
  (unixMs) => {
    const time = wireTime(unixMs);
    expect(toBinary(TimestampSchema, time)).toBeInstanceOf(Uint8Array);
    expect(Math.abs(timestampMs(time) - unixMs)).toBeLessThanOrEqual(0.5);
  },
);
