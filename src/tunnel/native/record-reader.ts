/**
 * Fields of the records that the addon writes (`native/engine/core/events.cc`): little endian, numbers as doubles where they may
 * pass 2^32, addresses as 20 bytes, texts as Latin-1 behind the fixed part. Address texts are kept for a while: few hosts make
 * most connections, and formatting one costs more than reading the whole record.
 */
import { ipFromBytes } from "../../lib/ip.ts";
import type { SocketAddress } from "../../model/address.ts";

const keptHosts = 4096;

export class RecordReader {
  bytes: Buffer = Buffer.alloc(0);
  /** Where the current record starts. */
  at = 0;
  #textAt = 0;
  readonly #hosts = new Map<number, string>();

  size(): number {
    return this.bytes.readUInt32LE(this.at);
  }

  byte(offset: number): number {
    return this.bytes[this.at + offset] ?? 0;
  }

  word(offset: number): number {
    return this.bytes.readUInt16LE(this.at + offset);
  }

  integer(offset: number): number {
    return this.bytes.readUInt32LE(this.at + offset);
  }

  double(offset: number): number {
    return this.bytes.readDoubleLE(this.at + offset);
  }

  /** Undefined for none. */
  address(offset: number): SocketAddress | undefined {
    const at = this.at + offset;
    const family = this.bytes[at];
    if (family === 0) return undefined;
    const port = this.bytes.readUInt16LE(at + 2);
    return { address: family === 4 ? this.#host4(at + 4) : this.#host6(at + 4), port };
  }

  /** The texts stand behind one another from here on, in the order of their lengths. */
  startTexts(offset: number): void {
    this.#textAt = this.at + offset;
  }

  text(lengthOffset: number): string {
    const length = this.word(lengthOffset);
    if (length === 0) return "";
    const start = this.#textAt;
    this.#textAt = start + length;
    return this.bytes.toString("latin1", start, this.#textAt);
  }

  #host4(at: number): string {
    const key = this.bytes.readUInt32LE(at);
    let host = this.#hosts.get(key);
    if (host === undefined) {
      const { bytes } = this;
      host = `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
      if (this.#hosts.size >= keptHosts) this.#hosts.clear();
      this.#hosts.set(key, host);
    }
    return host;
  }

  #host6(at: number): string {
    return ipFromBytes(this.bytes.subarray(at, at + 16)) ?? "";
  }
}
