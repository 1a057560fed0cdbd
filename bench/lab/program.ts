/** Which copies of the product and of the load generator a bench measures. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MeshError } from "../../src/lib/errors.ts";

type LabModule = typeof import("../../src/lab/lab.ts");

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Program {
  readonly Lab: LabModule["Lab"];
  readonly from: "dist" | "src";
}

/**
 * What `make` built, as users run it; the sources when they are newer, because a bench of yesterday's program would mislead. Agents
 * that run from sources carry the type stripper in their memory.
 */
export async function loadProgram(): Promise<Program> {
  const built = join(root, "dist", "lab", "lab.js");
  const from = existsSync(built) && newest(join(root, "src")) <= newest(join(root, "dist")) ? "dist" : "src";
  const path = from === "dist" ? built : join(root, "src", "lab", "lab.ts");
  const { Lab } = (await import(path)) as LabModule;
  return { Lab, from };
}

function newest(folder: string): number {
  let time = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) time = Math.max(time, statSync(join(entry.parentPath, entry.name)).mtimeMs);
  return time;
}

export function findLoadGenerator(): string {
  const path = join(root, "build", "native", "bench", "warren_load");
  if (!existsSync(path))
    throw new MeshError(
      "MESH_BENCH_NOT_BUILT",
      `the load generator ${path} is not there; run make in the checkout first`,
    );
  return path;
}
