/**
 * How often something happened in the last hour, day or week, in 184 bytes: counts by five minutes, by hour and by day, each tier as a
 * ring. An answer is exact to one slot of the finest tier that reaches back far enough, and never leaves out what is inside the window.
 */

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

/** One slot more than the name says: the window begins within the oldest one. */
const tiers = [
  { width: 5 * minute, slots: 13, at: 0 },
  { width: hour, slots: 25, at: 13 },
  { width: day, slots: 8, at: 38 },
] as const;
const cells = 46;

/** The longest window that is kept. */
export const longestWindow = 7 * day;

export class SlidingCount {
  readonly #counts = new Uint32Array(cells);
  /** Per tier the number, since 1970, of the newest slot. */
  readonly #newest = [0, 0, 0];
  #total = 0;

  /** Of all time. */
  get total(): number {
    return this.#total;
  }

  /** `at` may be in the past: what began long ago may be heard of only now. */
  add(at: number, count = 1): void {
    this.#total += count;
    for (const [index, { width, slots, at: offset }] of tiers.entries()) {
      const slot = Math.floor(at / width);
      const newest = this.#newest[index] ?? 0;
      if (slot <= newest - slots) continue;
      if (slot > newest) {
        for (let fresh = Math.max(newest + 1, slot - slots + 1); fresh <= slot; fresh++) {
          this.#counts[offset + (fresh % slots)] = 0;
        }
        this.#newest[index] = slot;
      }
      const cell = offset + (slot % slots);
      this.#counts[cell] = (this.#counts[cell] ?? 0) + count;
    }
  }

  /** How many in the `window` milliseconds before `now`; of windows beyond a week, in that week. */
  within(window: number, now: number): number {
    const found = tiers.findIndex(({ width, slots }) => window <= width * (slots - 1));
    const index = found === -1 ? tiers.length - 1 : found;
    const { width, slots, at: offset } = tiers[index] ?? tiers[0];
    const newest = this.#newest[index] ?? 0;
    const from = Math.max(Math.floor((now - window) / width), newest - slots + 1);
    let sum = 0;
    for (let slot = from; slot <= newest; slot++) sum += this.#counts[offset + (slot % slots)] ?? 0;
    return sum;
  }
}
