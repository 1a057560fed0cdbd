import { describe, expect, it } from "vitest";
import { nearest } from "../../src/lib/nearest.ts";

describe("nearest", () => {
  it.each([
    ["adress", ["address", "admin"], "address"],
    ["Workers", ["workers"], "workers"],
    ["x", ["address"], undefined],
    ["zzzz", [], undefined],
  ])("%s among %j is %s", (word, candidates, expected) => expect(nearest(word, candidates)).toBe(expected));
});
