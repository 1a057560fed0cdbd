/**
 * Short records of bytes outside JavaScript's heap, where neither objects nor a collector cost anything for each of them. A record is
 * known by a number that isn't 0; the place of a freed one is taken by the next of like size.
 */
const pageBits = 18;
const pageBytes = 1 << pageBits;
/** Records begin at multiples of this. */
const unitBits = 3;
const unitsPerPage = pageBytes >> unitBits;
const headerBytes = 2;
/** Bytes. */
export const largestRecord = 0xffff;

export class ByteStore {
  readonly #pages: Uint8Array[] = [];
  /** Next free unit of the last page. */
  #next = unitsPerPage;
  /** Freed records by their size in units. */
  readonly #free = new Map<number, number[]>();

  /** Bytes of memory that it takes. */
  get allocated(): number {
    return this.#pages.length * pageBytes;
  }

  put(bytes: Uint8Array): number {
    if (bytes.length > largestRecord) throw new RangeError(`a record of ${bytes.length} bytes is too long`);
    const units = unitsOf(bytes.length);
    const place = this.#free.get(units)?.pop() ?? this.#append(units);
    const page = this.#page(place);
    const at = offsetOf(place);
    page[at] = bytes.length & 0xff;
    page[at + 1] = bytes.length >> 8;
    page.set(bytes, at + headerBytes);
    return place;
  }

  /** A view, good until the record is freed. */
  get(place: number): Uint8Array {
    const page = this.#page(place);
    const at = offsetOf(place);
    const length = (page[at] ?? 0) | ((page[at + 1] ?? 0) << 8);
    return page.subarray(at + headerBytes, at + headerBytes + length);
  }

  free(place: number): void {
    const units = unitsOf(this.get(place).length);
    const list = this.#free.get(units);
    if (list === undefined) this.#free.set(units, [place]);
    else list.push(place);
  }

  #append(units: number): number {
    if (this.#next + units > unitsPerPage) {
      this.#pages.push(new Uint8Array(pageBytes));
      // No record is at place 0.
      this.#next = this.#pages.length === 1 ? 1 : 0;
    }
    const place = (this.#pages.length - 1) * unitsPerPage + this.#next;
    this.#next += units;
    return place;
  }

  #page(place: number): Uint8Array {
    const page = this.#pages[Math.floor(place / unitsPerPage)];
    if (page === undefined) throw new RangeError(`there is no record ${place}`);
    return page;
  }
}

function unitsOf(length: number): number {
  return (length + headerBytes + (1 << unitBits) - 1) >> unitBits;
}

function offsetOf(place: number): number {
  return (place % unitsPerPage) << unitBits;
}
