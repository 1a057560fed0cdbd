/** Exponential backoff with jitter: how long to wait after the n-th failure in a row. */

export interface BackoffOptions {
  readonly firstMs: number;
  readonly factor: number;
  readonly longestMs: number;
  /** 0.2 spreads each wait by ±20 %, so that what failed together does not come back together. */
  readonly jitter: number;
}

/** `failures` counts from 1; `random` is 0 … 1. */
export function backoffDelay(failures: number, options: BackoffOptions, random: number): number {
  const { firstMs, factor, longestMs, jitter } = options;
  // The exponent is bounded because factor ** 2000 is Infinity, and Infinity * 0 is not a number.
  const plain = Math.min(firstMs * factor ** Math.min(Math.max(failures - 1, 0), 64), longestMs);
  return Math.min(plain * (1 + jitter * (2 * random - 1)), longestMs);
}
