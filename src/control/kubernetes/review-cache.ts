/** Answers about tokens, kept briefly by the token's hash: agents come with the same token for every certificate. */
import { createHash } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import type { Refusal } from "../access/node-authenticator.ts";

export interface ReviewCacheOptions {
  /** How long a yes holds; a revoked token works for so long. */
  readonly acceptedMs: number;
  /** How long a no holds: short, for it may be about something that is being repaired. */
  readonly refusedMs: number;
  /** Tokens remembered; the oldest gives way. */
  readonly size: number;
  /** Questions under way; more are refused unasked. A stranger makes up tokens faster than an API server judges them. */
  readonly atOnce: number;
}

export const reviewCacheDefaults = { acceptedMs: 60_000, refusedMs: 2000, size: 10_000, atOnce: 64 } as const;

interface Entry<T> {
  readonly until: number;
  readonly answer: T;
}

export class ReviewCache<T extends object> {
  readonly #clock: Clock;
  readonly #options: ReviewCacheOptions;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #asked = new Map<string, Promise<T>>();

  constructor(clock: Clock, options: ReviewCacheOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  /** `question` tells questions about the same token apart. Who asks while the answer is under way shares it. */
  async get(token: string, question: string, ask: () => Promise<T>): Promise<T | Refusal> {
    const key = createHash("sha256").update(`${question}\0${token}`).digest("base64");
    const known = this.#entries.get(key);
    if (known !== undefined && known.until > this.#clock.now()) return known.answer;
    const pending = this.#asked.get(key);
    if (pending !== undefined) return await pending;
    if (this.#asked.size >= this.#options.atOnce) return { refused: "too many tokens are being judged at once" };
    return await this.#ask(key, ask);
  }

  #ask(key: string, ask: () => Promise<T>): Promise<T> {
    const pending = ask().then((answer) => {
      const { acceptedMs, refusedMs, size } = this.#options;
      this.#entries.delete(key);
      const [oldest] = this.#entries.keys();
      if (this.#entries.size >= size && oldest !== undefined) this.#entries.delete(oldest);
      const until = this.#clock.now() + ("refused" in answer ? refusedMs : acceptedMs);
      this.#entries.set(key, { until, answer });
      return answer;
    });
    this.#asked.set(key, pending);
    const forget = () => this.#asked.delete(key);
    pending.then(forget, forget);
    return pending;
  }
}
