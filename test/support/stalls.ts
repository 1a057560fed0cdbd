/** Stalls of the machine, for tests that need time limits too short to outlive one: they wait for the limit, or for many of them. */

/** How many attempts at a stretch may be spoilt. */
const mostAttempts = 20;

/**
 * What `attempt` comes to on a machine that goes on: one that failed while this process stood still for `longestMs` at a stretch says
 * nothing of what it tests, and is made again from its beginning. A failure without a stall is the attempt's own.
 */
export async function unlessStalled<T>(longestMs: number, attempt: () => Promise<T>): Promise<T> {
  for (let left = mostAttempts; ; left -= 1) {
    let longest = 0;
    let last = performance.now();
    const look = () => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    };
    const looking = setInterval(look, 5);
    try {
      return await attempt();
    } catch (thrown) {
      look();
      if (longest < longestMs || left === 1) throw thrown;
    } finally {
      clearInterval(looking);
    }
  }
}
