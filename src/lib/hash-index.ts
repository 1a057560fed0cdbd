/**
 * Finds numbered things by a hash of their key: open addressing in one typed array, 8 bytes a slot. The keys themselves are the caller's,
 * who says on a hit whether it is the right one. Slots are found by linear probing and closed by shifting back, so there are no graves.
 */
const slotWords = 2;
const firstSlots = 64;

export class HashIndex {
  /** Pairs of hash and id + 1; 0 is an empty slot. */
  #words = new Uint32Array(firstSlots * slotWords);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The id of which `is` says that it is the one; -1 when there is none. */
  find(hash: number, is: (id: number) => boolean): number {
    const words = this.#words;
    const mask = words.length / slotWords - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = words[slot * slotWords + 1] ?? 0;
      if (entry === 0) return -1;
      if (words[slot * slotWords] === hash && is(entry - 1)) return entry - 1;
    }
  }

  add(hash: number, id: number): void {
    const slots = this.#words.length / slotWords;
    // Beyond three quarters the runs of taken slots get long.
    if ((this.#size + 1) * 4 > slots * 3) this.#grow(slots * 2);
    this.#put(hash, id + 1);
    this.#size++;
  }

  remove(hash: number, id: number): void {
    const words = this.#words;
    const mask = words.length / slotWords - 1;
    let slot = hash & mask;
    // One thing may be here under several keys.
    while (words[slot * slotWords + 1] !== id + 1 || words[slot * slotWords] !== hash) {
      if (words[slot * slotWords + 1] === 0) return;
      slot = (slot + 1) & mask;
    }
    this.#size--;
    for (let next = (slot + 1) & mask; words[next * slotWords + 1] !== 0; next = (next + 1) & mask) {
      const home = (words[next * slotWords] ?? 0) & mask;
      // Only what would still be found from its home moves into the gap.
      if (((next - home) & mask) < ((next - slot) & mask)) continue;
      words[slot * slotWords] = words[next * slotWords] ?? 0;
      words[slot * slotWords + 1] = words[next * slotWords + 1] ?? 0;
      slot = next;
    }
    words[slot * slotWords + 1] = 0;
  }

  #put(hash: number, entry: number): void {
    const words = this.#words;
    const mask = words.length / slotWords - 1;
    let slot = hash & mask;
    while (words[slot * slotWords + 1] !== 0) slot = (slot + 1) & mask;
    words[slot * slotWords] = hash;
    words[slot * slotWords + 1] = entry;
  }

  #grow(slots: number): void {
    const before = this.#words;
    this.#words = new Uint32Array(slots * slotWords);
    for (let at = 0; at < before.length; at += slotWords) {
      const entry = before[at + 1] ?? 0;
      if (entry !== 0) this.#put(before[at] ?? 0, entry);
    }
  }
}

/** FNV-1a over UTF-16 units, with a last mix: names of one kind differ in few places. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash ^= hash >>> 15;
  return Math.imul(hash, 0x2c1b3c6d) >>> 0;
}
