import { describe, expect, it } from "vitest";
import { Turns } from "../../src/lib/turns.ts";

/** Holds the thread for longer than a slice is. */
function work(): void {
  const until = performance.now() + 10;
  while (performance.now() < until);
}

describe("Turns", () => {
  it("begins what came together in order, and lets the event loop turn between long pieces", async () => {
    const turns = new Turns();
    const seen: { who: number; turn: number }[] = [];
    let turn = 0;
    const counting = setInterval(() => turn++, 0);
    await Promise.all(
      Array.from({ length: 8 }, async (_, who) => {
        await turns.next();
        seen.push({ who, turn });
        work();
      }),
    );
    clearInterval(counting);
    expect(seen.map(({ who }) => who)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    // Two may begin before the first one's work is known to be long.
    expect(new Set(seen.map((one) => one.turn)).size).toBeGreaterThan(3);
  });
});
