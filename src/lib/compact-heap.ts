/**
 * Gives back the memory that loading and starting a program took: V8 sizes its young generation for the burst of a start and keeps
 * it. One full collection afterwards halves a daemon's anonymous memory; what the daemon then needs, V8 takes again.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;

/** Stops the thread for some tens of milliseconds, for longer with a large mesh: for a start, not for the middle of anything. */
export function compactHeap(): void {
  // V8 shows its collector to contexts made while this flag is set, and to no others.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as Collect;
  setFlagsFromString("--no-expose-gc");
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}
