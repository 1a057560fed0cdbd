/** Waiting for what is being measured to come to rest. */
import { setTimeout as delay } from "node:timers/promises";
import { MeshError } from "../../src/lib/errors.ts";

/** Asks until it holds. */
export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new MeshError("MESH_BENCH_TIMEOUT", `${what}: not within ${timeoutMs} ms`);
    await delay(50, undefined, { signal });
  }
}

/** Reads until three readings in a row lie within a share of each other, or the time is up: then the last one, which is as still as it gets. */
export async function settled(
  read: () => number,
  options: { readonly signal: AbortSignal; readonly within: number; readonly timeoutMs: number },
): Promise<number> {
  const { signal, within, timeoutMs } = options;
  const deadline = performance.now() + timeoutMs;
  const last = [read()];
  for (;;) {
    await delay(150, undefined, { signal });
    last.push(read());
    const recent = last.slice(-3);
    const [high, low] = [Math.max(...recent), Math.min(...recent)];
    if (recent.length === 3 && high - low <= within * high) return recent[2] ?? high;
    if (performance.now() > deadline) return last.at(-1) ?? high;
  }
}
