import { describe, expect, it } from "vitest";
import { type AccessMode, wantsAccessLine } from "../../src/telemetry/access-choice.ts";

const namespaces = new Map<string, AccessMode>([
  ["loud", "all"],
  ["careful", "failures"],
  ["quiet", "off"],
]);

describe("the choice of access log lines", () => {
  // The draw is always 0.5: a sample above it keeps, one at or below it does not.
  it.each<[AccessMode, string | undefined, number, good: boolean, bad: boolean]>([
    ["all", "other", 1, true, true],
    ["failures", "other", 1, false, true],
    ["off", "other", 1, false, false],
    ["all", undefined, 1, true, true],
    ["off", undefined, 1, false, false],
    ["off", "loud", 1, true, true],
    ["all", "careful", 1, false, true],
    ["off", "careful", 1, false, true],
    ["all", "quiet", 1, false, false],
    ["all", "other", 0.6, true, true],
    ["all", "other", 0.5, false, true],
    ["all", "other", 0, false, true],
    ["off", "loud", 0.4, false, true],
    ["failures", "other", 0.6, false, true],
  ])("with %s, in namespace %s, sample %d: success %s, failure %s", (mode, namespace, sample, good, bad) => {
    const choice = { mode, namespaces, sample };
    expect(wantsAccessLine(choice, { namespace, succeeded: true }, () => 0.5)).toBe(good);
    expect(wantsAccessLine(choice, { namespace, succeeded: false }, () => 0.5)).toBe(bad);
  });

  it("leaves nothing to chance at both ends of the range", () => {
    const never = () => {
      throw new Error("asked");
    };
    const end = { namespace: "other", succeeded: true };
    expect(wantsAccessLine({ mode: "all", namespaces, sample: 1 }, end, never)).toBe(true);
    expect(wantsAccessLine({ mode: "all", namespaces, sample: 0 }, end, never)).toBe(false);
  });
});
