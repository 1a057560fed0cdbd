/**
 * V8 doubles its young generation under a burst of allocation, such as a start or a mesh's first load, to tens of megabytes and keeps
 * it, and one collection of it then stops the thread for tens of milliseconds. At the size that it begins with (1 MiB) a collection
 * takes about one, and a daemon's anonymous memory halves; in exchange collections are more frequent.
 */
import { setFlagsFromString } from "node:v8";

/** Where it has grown already it stays as it is: to be called before anything large is loaded. */
export function keepYoungGenerationSmall(): void {
  // The size itself can only be set when a process starts (`--max-semi-space-size`); by what it grows is asked each time.
  setFlagsFromString("--semi-space-growth-factor=1");
}
