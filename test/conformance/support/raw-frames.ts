/**
 * HTTP/2 frame by frame (RFC 9113 §4, RFC 7541 §6.2.2), for what no library would send and for what a library hides: order of
 * frames, window updates, error codes.
 */
import type { TLSSocket } from "node:tls";
import { expect } from "vitest";

export const frameType = {
  data: 0,
  headers: 1,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
} as const;

export const flag = { endStream: 1, ack: 1, endHeaders: 4 } as const;

/** RFC 9113 §3.4. */
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export class RawFrames {
  readonly frames: Frame[] = [];
  readonly #socket: TLSSocket;
  #rest = Buffer.alloc(0);
  /** Of the client's preface, still to come. */
  #preface: number;

  /** Says its preface, as a client, and SETTINGS, empty but for the window; answers SETTINGS and PINGs from then on. */
  constructor(socket: TLSSocket, options: { initialWindow?: number; end?: "client" | "server" } = {}) {
    const server = options.end === "server";
    this.#socket = socket;
    this.#preface = server ? preface.length : 0;
    socket.on("data", (data: Buffer) => this.#take(data));
    if (!server) socket.write(preface);
    const settings = Buffer.alloc(options.initialWindow === undefined ? 0 : 6);
    if (options.initialWindow !== undefined) {
      // SETTINGS_INITIAL_WINDOW_SIZE, RFC 9113 §6.5.2.
      settings.writeUInt16BE(4);
      settings.writeUInt32BE(options.initialWindow, 2);
    }
    this.send(frameType.settings, 0, 0, settings);
  }

  send(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    this.#socket.write(Buffer.concat([head, payload]));
  }

  /** Fields as literals without indexing, in the order given. */
  sendHeaders(stream: number, fields: readonly (readonly [string, string])[], flags: number = flag.endHeaders): void {
    const octets = (text: string) => {
      const bytes = Buffer.from(text, "latin1");
      return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    };
    const block = fields.flatMap(([name, value]) => [Buffer.from([0]), octets(name), octets(value)]);
    this.send(frameType.headers, flags, stream, Buffer.concat(block));
  }

  of(type: number, stream?: number): Frame[] {
    return this.frames.filter((frame) => frame.type === type && (stream === undefined || frame.stream === stream));
  }

  /** The first frame of the type, when it has come. */
  async first(type: number, stream?: number): Promise<Frame> {
    await expect.poll(() => this.of(type, stream).length, { interval: 5, timeout: 30_000 }).toBeGreaterThan(0);
    return this.of(type, stream)[0] as Frame;
  }

  #take(data: Buffer): void {
    const skipped = Math.min(this.#preface, data.length);
    this.#preface -= skipped;
    this.#rest = Buffer.concat([this.#rest, data.subarray(skipped)]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      const frame: Frame = {
        type: this.#rest[3] as number,
        flags: this.#rest[4] as number,
        stream: this.#rest.readUInt32BE(5) & 0x7fffffff,
        payload: Buffer.from(this.#rest.subarray(9, 9 + length)),
      };
      this.#rest = this.#rest.subarray(9 + length);
      this.frames.push(frame);
      const answered = frame.type === frameType.settings || frame.type === frameType.ping;
      if (answered && (frame.flags & flag.ack) === 0) {
        this.send(frame.type, flag.ack, 0, frame.type === frameType.ping ? frame.payload : undefined);
      }
    }
  }
}
