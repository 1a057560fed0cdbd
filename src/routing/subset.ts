/**
 * A bounded choice of endpoints for one client, always the same one while the endpoints are the same: with thousands behind a Service,
 * every client keeps tunnels to a few of them and the clients together use them all. Rendezvous hashing: an endpoint that goes
 * or comes moves only the clients that chose it or choose it now.
 */
export function subset<T>(
  items: readonly T[],
  limit: number,
  client: string,
  nameOf: (item: T) => string,
): readonly T[] {
  if (items.length <= limit) return items;
  const seed = hash(client, offsetBasis);
  return items
    .map((item) => ({ item, rank: hash(nameOf(item), seed) }))
    .sort((one, other) => one.rank - other.rank)
    .slice(0, limit)
    .map(({ item }) => item);
}

/** FNV-1a, 32 bits, then mixed (the finalizer of MurmurHash3): short names that differ in one digit must rank far apart. */
const offsetBasis = 0x811c9dc5;

function hash(text: string, seed: number): number {
  let state = seed;
  for (let index = 0; index < text.length; index += 1) state = Math.imul(state ^ text.charCodeAt(index), 0x01000193);
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return (state ^ (state >>> 16)) >>> 0;
}
