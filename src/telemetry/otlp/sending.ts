/** What every signal keeps to when it sends: the thread that encodes decides connections, too, and the agent's end waits for nobody. */

/**
 * Log records, spans or data points of one request. Encoding takes 10 to 25 µs each, of some 25 attributes: a few milliseconds, and some
 * 80 KiB.
 */
export const batchSize = 128;

/** A collector that is away must not hold up the end of the agent. */
export const lastWaitMs = 2000;
