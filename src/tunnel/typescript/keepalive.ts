/**
 * HTTP/2 PINGs on a tunnel: the next one an interval after the last answer, and the peer counts as gone when one stays unanswered.
 * They run while data flows too: a tunnel that moves bytes one way only would not notice otherwise.
 */
import type { Http2Session } from "node:http2";

export class Keepalive {
  readonly #session: Http2Session;
  readonly #onDead: () => void;
  readonly #intervalMs: number;
  readonly #timeoutMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: { session: Http2Session; onDead: () => void }, options: { intervalMs: number; timeoutMs: number }) {
    this.#session = deps.session;
    this.#onDead = deps.onDead;
    this.#intervalMs = options.intervalMs;
    this.#timeoutMs = options.timeoutMs;
    this.#wait();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#ping(), this.#intervalMs);
  }

  #ping(): void {
    // Node sends no PING on a session that a GOAWAY has closed for new streams; TCP keepalive watches its last flows.
    if (this.#session.closed || this.#session.destroyed) return;
    this.#timer = setTimeout(this.#onDead, this.#timeoutMs);
    this.#session.ping((error) => {
      clearTimeout(this.#timer);
      if (error === null && !this.#session.destroyed) this.#wait();
    });
  }
}
