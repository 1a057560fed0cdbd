/** One full collection, for the moment between loading a program and its first work: what only the loading needed is given back. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;

/** Stops the thread for some tens of milliseconds: not for a process that listens already. */
export function compactHeap(): void {
  // V8 shows its collector to contexts made while this flag is set, and to no others.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as Collect;
  setFlagsFromString("--no-expose-gc");
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}
