/** What tables outside JavaScript's heap are made of. */
import { describe, expect, test } from "vitest";
import { ByteStore } from "../../src/lib/byte-store.ts";
import { HashIndex } from "../../src/lib/hash-index.ts";
import { Recent } from "../../src/lib/recent.ts";
import { ValuePool } from "../../src/lib/value-pool.ts";
import { Random } from "../xds/resources/random.ts";

describe("a hash index", () => {
  test("finds what is in it and nothing else, also among equal and neighbouring hashes", () => {
    const random = new Random(7);
    const index = new HashIndex();
    const held = new Map<number, number>();
    for (let step = 0; step < 20_000; step++) {
      const id = random.below(400);
      const hash = held.get(id);
      if (hash === undefined) {
        // Few hashes, so that runs of slots meet.
        const chosen = random.below(64) * (random.chance(2) ? 1 : 0x0100_0000);
        index.add(chosen, id);
        held.set(id, chosen);
      } else {
        index.remove(hash, id);
        held.delete(id);
      }
      if (step % 100 !== 0) continue;
      for (let other = 0; other < 400; other++) {
        const at = held.get(other);
        expect(index.find(at ?? 1, (found) => found === other)).toBe(at === undefined ? -1 : other);
      }
      expect(index.size).toBe(held.size);
    }
  });
});

describe("a store of bytes", () => {
  test("keeps records apart and takes freed places again", () => {
    const random = new Random(3);
    const store = new ByteStore();
    const held = new Map<number, Uint8Array>();
    const fill = () => {
      for (let record = 0; record < 3000; record++) {
        const bytes = Uint8Array.from({ length: random.below(300) }, () => random.below(256));
        const place = store.put(bytes);
        expect(held.has(place)).toBe(false);
        held.set(place, bytes);
      }
    };
    fill();
    const { allocated } = store;
    for (let round = 0; round < 20; round++) {
      for (const [place, bytes] of held) {
        expect(Buffer.compare(store.get(place), bytes)).toBe(0);
        store.free(place);
        held.delete(place);
      }
      fill();
    }
    expect(store.allocated).toBeLessThan(allocated * 2);
    expect(() => store.put(new Uint8Array(70_000))).toThrow(/too long/);
  });
});

describe("a pool of values", () => {
  test("keeps one of each for as long as somebody holds it", () => {
    const pool = new ValuePool<object>();
    const first = pool.hold("a", () => ({}));
    expect(pool.hold("a", () => ({}))).toBe(first);
    const value = pool.get(first);
    pool.release(first);
    expect(pool.get(first)).toBe(value);
    pool.release(first);
    expect(() => pool.get(first)).toThrow(/nothing holds/);
    expect(pool.size).toBe(0);
  });
});

describe("what was used lately", () => {
  test("stays while it is used, within the bound", () => {
    const recent = new Recent<number, string>(10);
    for (let key = 0; key < 100; key++) {
      recent.set(key, `v${key}`);
      expect(recent.get(0)).toBe("v0");
    }
    expect(recent.get(50)).toBeUndefined();
    recent.delete(0);
    expect(recent.get(0)).toBeUndefined();
  });
});
