import { describe, expect, it } from "vitest";
import { weightedOrder } from "../../../src/tunnel/typescript/weighted-order.ts";

/** A repeatable stand-in for Math.random (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const idle = () => 0;

describe("targets by weight", () => {
  it("all come, each once", () => {
    const targets = [1, 2, 3, 0].map((weight, id) => ({ id, weight }));
    const random = seeded(1);
    for (let i = 0; i < 50; i += 1) {
      const order = weightedOrder(targets, idle, random);
      expect(new Set(order)).toEqual(new Set(targets));
      expect(order).toHaveLength(4);
      expect(order.at(-1)?.weight).toBe(0);
    }
  });

  it("come first as often as their weight says", () => {
    const targets = [{ weight: 1 }, { weight: 3 }];
    const random = seeded(2);
    let heavy = 0;
    for (let i = 0; i < 4_000; i += 1) if (weightedOrder(targets, idle, random)[0]?.weight === 3) heavy += 1;
    expect(heavy / 4_000).toBeGreaterThan(0.72);
    expect(heavy / 4_000).toBeLessThan(0.78);
  });

  it("give way to one with less to do", () => {
    const targets = [
      { weight: 1, load: 100 },
      { weight: 1, load: 0 },
    ];
    const random = seeded(3);
    let loaded = 0;
    for (let i = 0; i < 1_000; i += 1)
      if (weightedOrder(targets, ({ load }) => load, random)[0]?.load === 100) loaded += 1;
    // Only when both draws are of the loaded one.
    expect(loaded).toBeGreaterThan(180);
    expect(loaded).toBeLessThan(320);
  });

  it("of nothing are nothing, of one are that one, and weights of 0 still make an order", () => {
    expect(weightedOrder([], idle, Math.random)).toEqual([]);
    expect(weightedOrder([{ weight: 0 }], idle, Math.random)).toEqual([{ weight: 0 }]);
    expect(weightedOrder([{ weight: 0 }, { weight: 0 }], idle, Math.random)).toHaveLength(2);
  });
});
