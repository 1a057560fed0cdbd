import { describe, expect, it } from "vitest";
import { longestWindow, SlidingCount } from "../../../src/telemetry/observed/sliding-count.ts";

const minute = 60_000;
const hour = 60 * minute;
const start = Date.UTC(2026, 0, 1);

describe("SlidingCount", () => {
  it("agrees with a list of all times, to one slot of the tier that answers", () => {
    let seed = 7;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed / 2_147_483_648;
    };
    const count = new SlidingCount();
    const times: number[] = [];
    let now = start;
    for (let n = 0; n < 3000; n++) {
      now += random() * 10 * minute;
      // Some are heard of late.
      const at = now - (random() < 0.2 ? random() * 3 * hour : 0);
      count.add(at);
      times.push(at);
      if (n % 50 !== 0) continue;
      for (const [window, slot] of [
        [20 * minute, 5 * minute],
        [hour, 5 * minute],
        [6 * hour, hour],
        [24 * hour, hour],
        [longestWindow, 24 * hour],
      ] as const) {
        const counted = count.within(window, now);
        expect(counted).toBeGreaterThanOrEqual(times.filter((time) => time > now - window).length);
        expect(counted).toBeLessThanOrEqual(times.filter((time) => time > now - window - slot).length);
      }
    }
    expect(count.total).toBe(3000);
  });

  it("forgets what has left the window, also after a long silence", () => {
    const count = new SlidingCount();
    count.add(start, 5);
    expect(count.within(hour, start)).toBe(5);
    expect(count.within(hour, start + 2 * hour)).toBe(0);
    count.add(start + 30 * 24 * hour);
    expect(count.within(longestWindow, start + 30 * 24 * hour)).toBe(1);
    expect(count.total).toBe(6);
  });

  it("leaves out of every window what is older than a week, whenever it is heard of", () => {
    const count = new SlidingCount();
    count.add(start);
    count.add(start - 30 * 24 * hour);
    expect(count.within(longestWindow, start)).toBe(1);
  });
});
