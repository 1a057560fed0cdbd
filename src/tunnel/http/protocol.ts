/** Which protocol a connection speaks, by its first bytes: HTTP/2 opens with its preface, HTTP/1 with a method and a space. */
import { METHODS } from "node:http";
import type { Duplex } from "node:stream";

export type Protocol = "http1" | "http2" | "not-http";

/** RFC 9113 §3.4. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** A first line of a method that nobody knows is looked at up to here, to tell a new method from no HTTP. */
const longestLine = 8192;
const longestMethod = 32;

const methods: ReadonlySet<string> = new Set(METHODS);

/** Undefined while the bytes may still become one or another. */
export function protocolOf(bytes: Buffer): Protocol | undefined {
  const compared = Math.min(bytes.length, preface.length);
  if (bytes.subarray(0, compared).equals(preface.subarray(0, compared))) {
    return compared === preface.length ? "http2" : undefined;
  }
  // RFC 9112 §2.2: an empty line before the request line is to be ignored.
  const text = bytes
    .subarray(0, longestLine)
    .toString("latin1")
    .replace(/^(?:\r\n)*/, "");
  if (text === "" || text === "\r") return bytes.length < longestLine ? undefined : "not-http";
  const method = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+/.exec(text)?.[0] ?? "";
  if (method === "" || method.length > longestMethod) return "not-http";
  if (method.length === text.length) return undefined;
  if (text[method.length] !== " " || method === "PRI") return "not-http";
  if (methods.has(method)) return "http1";
  const end = text.indexOf("\n");
  if (end === -1) return bytes.length < longestLine ? undefined : "not-http";
  return /^\S+ \S+ HTTP\/\d\.\d\r\n$/.test(text.slice(0, end + 1)) ? "http1" : "not-http";
}

/**
 * Reads until the protocol is known and puts the bytes back. `closed`: the client ended before; `silent`: nothing decided in time,
 * as when both ends wait for the other to speak first. `done` is called once, unless the duplex breaks.
 */
export function recognise(
  duplex: Duplex,
  timeoutMs: number,
  done: (protocol: Protocol | "closed" | "silent") => void,
): void {
  let bytes = Buffer.alloc(0);
  const finish = (protocol: Protocol | "closed" | "silent") => {
    stop();
    if (bytes.length > 0) duplex.unshift(bytes);
    done(protocol);
  };
  const read = () => {
    for (let chunk: Buffer | null = duplex.read(); chunk !== null; chunk = duplex.read()) {
      bytes = Buffer.concat([bytes, chunk]);
      const protocol = protocolOf(bytes);
      if (protocol !== undefined) {
        finish(protocol);
        return;
      }
    }
  };
  const end = () => {
    stop();
    done(bytes.length === 0 ? "closed" : "not-http");
  };
  const timer = setTimeout(() => finish("silent"), timeoutMs);
  const stop = () => {
    clearTimeout(timer);
    duplex.off("readable", read).off("end", end).off("close", stop);
  };
  duplex.on("readable", read).on("end", end).on("close", stop);
}
