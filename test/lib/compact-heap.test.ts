import { describe, expect, it } from "vitest";
import { compactHeap } from "../../src/lib/compact-heap.ts";

describe("compactHeap", () => {
  it("collects what nobody holds and leaves no collector in reach", () => {
    let held: object | undefined = { big: Array.from({ length: 1_000_000 }, (_, index) => index + 0.5) };
    const weak = new WeakRef(held);
    const before = process.memoryUsage().heapUsed;
    held = undefined;
    compactHeap();
    expect(process.memoryUsage().heapUsed).toBeLessThan(before);
    expect(weak).toBeInstanceOf(WeakRef);
    expect("gc" in globalThis).toBe(false);
  });
});
