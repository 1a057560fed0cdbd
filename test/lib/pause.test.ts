import { expect, test } from "vitest";
import type { Clock } from "../../src/lib/clock.ts";
import { pause } from "../../src/lib/pause.ts";

/** Runs what waits when told to. */
function heldClock() {
  const waiting = new Map<() => void, number>();
  const clock: Clock = {
    now: () => 0,
    after: (delayMs, then) => {
      waiting.set(then, delayMs);
      return () => waiting.delete(then);
    },
  };
  return { clock, waiting };
}

test("a pause ends when its time is over", async () => {
  const { clock, waiting } = heldClock();
  const paused = pause(clock, 250, new AbortController().signal);
  const [[then, delayMs] = []] = [...waiting];
  expect(delayMs).toBe(250);
  then?.();
  await expect(paused).resolves.toBeUndefined();
});

test("a pause ends without an error when the signal aborts, and leaves no timer", async () => {
  const { clock, waiting } = heldClock();
  const stop = new AbortController();
  const paused = pause(clock, 250, stop.signal);
  stop.abort();
  await expect(paused).resolves.toBeUndefined();
  expect(waiting.size).toBe(0);
});

test("a pause under an aborted signal does not begin", async () => {
  const { clock, waiting } = heldClock();
  await expect(pause(clock, 250, AbortSignal.abort())).resolves.toBeUndefined();
  expect(waiting.size).toBe(0);
});
