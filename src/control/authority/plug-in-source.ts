/**
 * Where plug-in certificates come from, and what happens when they are replaced: another certificate of the same root is put in force at
 * once; another root starts a rotation, for which the old set goes on signing. Material that is not right changes nothing and is told.
 */
import { MeshError } from "../../lib/errors.ts";
import type { PlugInProblem } from "./plug-in.ts";

/** One set of files, read together. A folder, or a Secret. */
export interface PlugInReader {
  /** For messages: the folder's path, the Secret's name. */
  readonly where: string;
  read(): Promise<Readonly<Record<string, string>>>;
  /** Calls when the files may have changed, too often rather than too rarely. Returns how to stop. */
  watch(changed: () => void): () => void;
}

export function unusablePlugIn(where: string, problems: readonly PlugInProblem[]): MeshError {
  const told = problems.map(({ file, message }) => `${file} ${message}`).join("; ");
  return new MeshError("MESH_PLUG_IN_UNUSABLE", `the certificates in ${where} cannot be used: ${told}`);
}
