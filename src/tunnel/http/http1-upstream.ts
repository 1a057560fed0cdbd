/**
 * The one HTTP/1 connection to the application that goes with a client's connection: opened by the first request that may pass, used
 * for one request after the other, and never replaced, because applications tie state to connections (and clients to theirs).
 */
import { Agent, type ClientRequest, request } from "node:http";
import type { Duplex } from "node:stream";
import type { Fields } from "./fields.ts";

/** A request that the application's connection ended before. */
export class UpstreamGone extends Error {
  constructor() {
    super("the application has closed the connection");
    this.name = "UpstreamGone";
  }
}

export interface UpstreamRequest {
  readonly method: string;
  readonly target: string;
  readonly fields: Fields;
}

export class Http1Upstream {
  readonly #agent: OneConnectionAgent;
  readonly #maxHeaderSize: number;

  constructor(
    deps: { readonly dial: () => Promise<Duplex>; readonly closed: () => void },
    options: { readonly maxHeaderSize: number },
  ) {
    this.#agent = new OneConnectionAgent(deps);
    this.#maxHeaderSize = options.maxHeaderSize;
  }

  /** Waits for its turn if another request is being answered. */
  request({ method, target, fields }: UpstreamRequest): ClientRequest {
    return request({
      agent: this.#agent,
      method,
      path: target,
      headers: [...fields],
      setHost: false,
      insecureHTTPParser: false,
      maxHeaderSize: this.#maxHeaderSize,
    });
  }

  destroy(): void {
    this.#agent.end();
  }
}

class OneConnectionAgent extends Agent {
  readonly #dial: () => Promise<Duplex>;
  readonly #closed: () => void;
  #socket: Duplex | undefined;
  #used = false;
  #ended = false;

  constructor({ dial, closed }: { readonly dial: () => Promise<Duplex>; readonly closed: () => void }) {
    super({ keepAlive: true, maxSockets: 1, scheduling: "fifo" });
    this.#dial = dial;
    this.#closed = closed;
  }

  override createConnection(_options: unknown, callback: (error: Error | null, socket: Duplex) => void): undefined {
    // Node's callback takes an error alone; its type does not say so.
    const fail = callback as (error: Error) => void;
    if (this.#used) {
      process.nextTick(fail, new UpstreamGone());
      return;
    }
    this.#used = true;
    void this.#open(callback, fail);
  }

  async #open(done: (error: null, socket: Duplex) => void, fail: (error: Error) => void): Promise<void> {
    let socket: Duplex;
    try {
      socket = await this.#dial();
    } catch (thrown) {
      fail(thrown instanceof Error ? thrown : new Error(String(thrown)));
      return;
    }
    socket.on("error", () => {});
    if (this.#ended) {
      socket.destroy();
      fail(new UpstreamGone());
      return;
    }
    this.#socket = socket;
    socket.once("close", this.#closed);
    done(null, socket);
  }

  /** Node would unref an idle socket and limit its time; it lives as long as the client's connection. */
  override keepSocketAlive(): boolean {
    return true;
  }

  override reuseSocket(): void {}

  end(): void {
    this.#ended = true;
    this.#used = true;
    this.#socket?.destroy();
    this.destroy();
  }
}
