/** The small HTTP servers that every daemon has (admin, metrics, readiness): a table of routes over node:http, bounded against slow clients. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ConfigAddress } from "./config-schema.ts";
import { MeshError, messageOf } from "./errors.ts";
import { formatHostPort } from "./host-port.ts";

export interface HttpAnswer {
  readonly status: number;
  /** The whole content-type. */
  readonly type: string;
  /** Whole, or in pieces that are made as the reader takes them; pieces that fail cut the answer short, so that it is no whole one. */
  readonly body: string | AsyncIterable<string | Uint8Array>;
}

/** `GET /path` → its answer. */
export type Routes = Readonly<
  Record<string, (url: URL, headers: IncomingHttpHeaders) => HttpAnswer | Promise<HttpAnswer>>
>;

export interface HttpServerOptions {
  readonly name: string;
  readonly listen: ConfigAddress;
  /** Answer only requests addressed to a loopback name, so that no web page can reach it through a browser of this machine. */
  readonly loopbackOnly: boolean;
}

export class HttpServer {
  readonly #server: Server;
  readonly #options: HttpServerOptions;

  constructor(routes: Routes, options: HttpServerOptions) {
    this.#options = options;
    this.#server = createServer(
      // What is served here is small and local: a client that is slower than this holds a descriptor for nothing.
      { headersTimeout: 5000, requestTimeout: 10_000, keepAliveTimeout: 30_000, maxHeaderSize: 8192 },
      (request, response) => {
        request.resume();
        void this.#answer(routes, request).then(({ status, type, body }) => {
          const whole = typeof body === "string";
          response.writeHead(status, {
            "content-type": type,
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            ...(whole ? { "content-length": Buffer.byteLength(body) } : {}),
          });
          if (whole || request.method === "HEAD") response.end(whole && request.method !== "HEAD" ? body : undefined);
          // Whoever hangs up half-way, or stalls, has told all there is to know by it. Small marks: a piece is made when the last was taken.
          else pipeline(Readable.from(body, { highWaterMark: 1 }), response).catch(() => response.destroy());
        });
      },
    );
    this.#server.maxConnections = 64;
    this.#server.on("clientError", (_error, socket) => socket.destroy());
  }

  get name(): string {
    return this.#options.name;
  }

  /** Binds, and says which address and port; rejects with MESH_LISTEN_FAILED. */
  async start(): Promise<ConfigAddress> {
    const { name, listen } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    // Without a host Node binds both families where there are both, and IPv4 alone on machines without IPv6.
    this.#server.listen(listen.host === "" ? { port: listen.port } : { host: listen.host, port: listen.port }, resolve);
    try {
      await promise;
    } catch (error) {
      const where = formatHostPort(listen.host, listen.port);
      throw new MeshError("MESH_LISTEN_FAILED", `${name} cannot listen on ${where}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port };
  }

  /** May be called twice and before `start`. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  async #answer(routes: Routes, request: IncomingMessage): Promise<HttpAnswer> {
    if (this.#options.loopbackOnly && !isLoopbackHost(request.headers.host)) {
      return text(403, "only requests to a loopback address are answered here\n");
    }
    const url = URL.parse(request.url ?? "", "http://localhost");
    if (url === null) return text(400, "malformed path\n");
    const method = request.method === "HEAD" ? "GET" : request.method;
    const route = routes[`${method} ${url.pathname}`];
    if (route === undefined) {
      const other = Object.keys(routes).find((key) => key.split(" ")[1] === url.pathname);
      return other === undefined
        ? text(404, `not found; here are: ${Object.keys(routes).join(", ")}\n`)
        : text(405, `only ${other}\n`);
    }
    try {
      return await route(url, request.headers);
    } catch (error) {
      return text(500, `${messageOf(error)}\n`);
    }
  }
}

export function text(status: number, body: string): HttpAnswer {
  return { status, type: "text/plain; charset=utf-8", body };
}

/** Pretty-printed, maps as objects and big integers as decimal text: these pages are read by people and by jq. */
export function json(value: unknown): HttpAnswer {
  const plain = (_key: string, part: unknown): unknown => {
    if (part instanceof Map) return Object.fromEntries(part) as unknown;
    if (part instanceof Set) return [...part] as unknown;
    return typeof part === "bigint" ? String(part) : part;
  };
  return { status: 200, type: "application/json; charset=utf-8", body: `${JSON.stringify(value, plain, 2)}\n` };
}

function isLoopbackHost(host: string | undefined): boolean {
  return host !== undefined && /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host);
}
