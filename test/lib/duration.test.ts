import { describe, expect, it } from "vitest";
import { formatDuration, parseDuration } from "../../src/lib/duration.ts";

describe("durations", () => {
  it.each([
    ["0", 0],
    ["0s", 0],
    ["500ms", 500],
    ["1.5s", 1500],
    ["1m30s", 90_000],
    ["24h", 86_400_000],
    ["1d2h3m4s5ms", 93_784_005],
  ])("%s is %d ms", (text, expected) => expect(parseDuration(text)).toBe(expected));

  it.each(["", "10", "s", "1 s", "-1s", "1s1m", "1s1s", "1e3s", "1sec", "Infinitys"])("%j is no duration", (text) =>
    expect(parseDuration(text)).toBeUndefined(),
  );

  it.each([0, 1, 999, 1000, 90_000, 86_400_000, 93_784_005])("%d ms survives being written and read", (ms) =>
    expect(parseDuration(formatDuration(ms))).toBe(ms),
  );

  it("writes negative durations with a sign", () => expect(formatDuration(-1500)).toBe("-1s500ms"));
});
