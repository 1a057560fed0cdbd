/** The manifests that come with Warren, for the command line and for tests. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Path of a file below `examples/`. */
export function examplePath(name: string): string {
  return fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
}

export function readExample(name: string): { readonly name: string; readonly text: string } {
  return { name, text: readFileSync(examplePath(name), "utf8") };
}
