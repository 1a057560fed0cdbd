/**
 * A server as careless as they come: any line end, white space anywhere, folded lines, the first or the last of doubled fields, either
 * framing where two are given. It notes every request that it believes to see.
 */
import { createServer, type Server } from "node:net";

export interface Carelessness {
  /** Which framing counts when both are there. */
  readonly framing: "length" | "chunked";
  /** Which of doubled fields counts. */
  readonly doubled: "first" | "last";
}

export const carelessness: readonly Carelessness[] = [
  { framing: "length", doubled: "first" },
  { framing: "length", doubled: "last" },
  { framing: "chunked", doubled: "first" },
  { framing: "chunked", doubled: "last" },
];

export interface Believed {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly fields: ReadonlyMap<string, string>;
}

interface Line {
  readonly text: string;
  readonly rest: string;
}

function nextLine(text: string): Line | undefined {
  const end = text.search(/\r?\n|\r(?!$)/);
  if (end === -1) return undefined;
  const length = text.startsWith("\r\n", end) ? 2 : 1;
  return { text: text.slice(0, end), rest: text.slice(end + length) };
}

export class CarelessReader {
  readonly requests: Believed[] = [];
  readonly #how: Carelessness;
  #text = "";

  constructor(how: Carelessness) {
    this.#how = how;
  }

  /** Returns how many requests have become complete. */
  feed(bytes: string): number {
    this.#text += bytes;
    const before = this.requests.length;
    for (let rest = this.#one(this.#text); rest !== undefined; rest = this.#one(this.#text)) this.#text = rest;
    return this.requests.length - before;
  }

  /** What is left after one request; undefined when it isn't there yet. */
  #one(text: string): string | undefined {
    let line = nextLine(text.replace(/^[\r\n\0 \t]+/, ""));
    if (line === undefined) return undefined;
    const [method = "", target = ""] = line.text.trim().split(/[ \t\v\f]+/);
    const fields = new Map<string, string>();
    let last = "";
    for (line = nextLine(line.rest); line !== undefined && line.text.trim() !== ""; line = nextLine(line.rest)) {
      if (/^[ \t]/.test(line.text) && last !== "") {
        fields.set(last, `${fields.get(last) ?? ""} ${line.text.trim()}`.trim());
        continue;
      }
      const colon = line.text.indexOf(":");
      last = line.text
        .slice(0, colon === -1 ? undefined : colon)
        .trim()
        .toLowerCase()
        .replaceAll("_", "-");
      if (this.#how.doubled === "last" || !fields.has(last)) fields.set(last, line.text.slice(colon + 1).trim());
    }
    if (line === undefined) return undefined;
    const rest = this.#body(fields, line.rest);
    if (rest !== undefined) this.requests.push({ method, fields, ...placeOf(target, fields.get("host") ?? "") });
    return rest;
  }

  #body(fields: ReadonlyMap<string, string>, text: string): string | undefined {
    const length = Number.parseInt(fields.get("content-length")?.replace(/^[^\d]+/, "") ?? "", 10);
    const chunked = /chunked/i.test(fields.get("transfer-encoding") ?? "");
    if (!chunked || (this.#how.framing === "length" && !Number.isNaN(length))) {
      const needed = Number.isNaN(length) ? 0 : length;
      return text.length < needed ? undefined : text.slice(needed);
    }
    let line = nextLine(text);
    while (line !== undefined) {
      const size = Number.parseInt(line.text, 16) || 0;
      if (size === 0) {
        // Trailers, and the empty line behind them.
        line = nextLine(line.rest);
        while (line !== undefined && line.text !== "") line = nextLine(line.rest);
        return line?.rest;
      }
      if (line.rest.length < size) return undefined;
      line = nextLine(line.rest.slice(size).replace(/^\r?\n/, ""));
    }
    return undefined;
  }
}

/** Where the WHATWG's reading of URLs, which differs from ours in origin, thinks that the target is. */
function placeOf(target: string, host: string): { path: string; host: string } {
  const absolute = /^[a-z]+:\/\//i.test(target);
  const url = URL.parse(absolute ? target : `http://${host || "nobody"}${target}`);
  if (url === null) return { path: target, host };
  const path = url.pathname.replaceAll(/%[0-9A-Fa-f]{2}/g, (encoded) => {
    const character = decodeURIComponent(Number.parseInt(encoded.slice(1), 16) < 128 ? encoded : "-");
    return /[\w\-.~]/.test(character) ? character : encoded;
  });
  return { path: new URL(path, "http://x").pathname, host: absolute ? url.hostname : host };
}

export class PermissiveServer {
  readonly requests: Believed[] = [];
  /** All that came, as it came. */
  bytes = "";
  readonly server: Server;

  constructor(how: Carelessness) {
    this.server = createServer((socket) => {
      const reader = new CarelessReader(how);
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        const text = chunk.toString("latin1");
        this.bytes += text;
        const count = reader.feed(text);
        for (const request of reader.requests.splice(0)) this.requests.push(request);
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(count));
      });
    });
  }
}
