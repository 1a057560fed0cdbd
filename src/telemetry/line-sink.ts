/**
 * Where lines leave the process: an asynchronous, bounded writer. A reader that stalls fills the buffer and then costs lines, which
 * are counted, but never a moment of the event loop.
 */
import { once } from "node:events";
import { pino } from "pino";
import { redact } from "./redact.ts";

export interface LineSink {
  /** One line with its line break. */
  write(line: string): void;
  /** Lines lost so far because the reader was too slow, and writes that failed. */
  readonly dropped: number;
  /** Writes what is buffered, waiting at most `timeoutMs` for the reader. May be called twice. */
  close(timeoutMs: number): Promise<void>;
}

export interface LineSinkOptions {
  /** A path to append to, or a descriptor. */
  readonly destination: string | number;
  /** Bytes that may wait. */
  readonly buffer: number;
}

export function createLineSink(options: LineSinkOptions): LineSink {
  // minLength 0 writes at once when idle and gathers what arrives during a write into the next one.
  const stream = pino.destination({ dest: options.destination, sync: false, minLength: 0, maxLength: options.buffer });
  let dropped = 0;
  let closed = false;
  stream.on("drop", () => dropped++);
  // A full disk or a closed pipe must not end the agent: the line is lost, the traffic is not.
  stream.on("error", () => dropped++);
  return {
    write(line) {
      if (closed) dropped++;
      else stream.write(redact(line));
    },
    get dropped() {
      return dropped;
    },
    async close(timeoutMs) {
      if (closed) return;
      closed = true;
      const done = once(stream, "close", { signal: AbortSignal.timeout(timeoutMs) });
      stream.end();
      await done.catch(() => stream.destroy());
    },
  };
}
