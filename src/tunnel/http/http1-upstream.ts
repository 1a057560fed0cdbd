/**
 * The one HTTP/1 connection to the application that goes with a client's connection: opened by the first request that may pass, used
 * for one request after the other, and never replaced, because applications tie state to connections (and clients to theirs).
 */
import { Agent, type ClientRequest, request } from "node:http";
import type { Socket } from "node:net";
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
  readonly #dial: () => Promise<Socket>;
  readonly #closed: () => void;
  readonly #maxHeaderSize: number;
  readonly #agent = new OneConnectionAgent();
  #opening: Promise<void> | undefined;
  #ended = false;

  constructor(
    deps: { readonly dial: () => Promise<Socket>; readonly closed: () => void },
    options: { readonly maxHeaderSize: number },
  ) {
    this.#dial = deps.dial;
    this.#closed = deps.closed;
    this.#maxHeaderSize = options.maxHeaderSize;
  }

  /** Resolves when requests may be made; those who asked first come first. */
  opened(): Promise<void> {
    this.#opening ??= this.#open();
    return this.#opening;
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
    this.#ended = true;
    this.#agent.end();
  }

  async #open(): Promise<void> {
    const socket = await this.#dial();
    socket.on("error", () => {});
    if (this.#ended) {
      socket.destroy();
      throw new UpstreamGone();
    }
    socket.once("close", this.#closed);
    this.#agent.socket = socket;
  }
}

class OneConnectionAgent extends Agent {
  /** Given before the first request: while a connection is being made, the agent would make another for the next one. */
  socket: Socket | undefined;
  #used = false;

  constructor() {
    super({ keepAlive: true, maxSockets: 1, scheduling: "fifo" });
  }

  override createConnection(
    _options: unknown,
    callback: (error: Error | null, stream: Duplex) => void,
  ): Socket | undefined {
    const { socket } = this;
    if (this.#used || socket === undefined || socket.destroyed) {
      process.nextTick(callback, new UpstreamGone());
      return;
    }
    this.#used = true;
    return socket;
  }

  /** Node would unref an idle socket and limit its time; it lives as long as the client's connection. */
  override keepSocketAlive(): boolean {
    return true;
  }

  end(): void {
    this.socket?.destroy();
    this.destroy();
  }
}
