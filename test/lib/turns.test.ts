import { describe, expect, it } from "vitest";
import { Turns } from "../../src/lib/turns.ts";

describe("Turns", () => {
  it("gives each of those that came together a turn of the event loop of its own, in order", async () => {
    const turns = new Turns();
    const seen: { who: number; turn: number }[] = [];
    let turn = 0;
    let counting = true;
    const count = () => {
      turn++;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    await Promise.all(
      Array.from({ length: 10 }, async (_, who) => {
        await turns.next();
        seen.push({ who, turn });
      }),
    );
    counting = false;
    expect(seen.map(({ who }) => who)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(new Set(seen.map((one) => one.turn)).size).toBe(10);
  });
});
