/** Flags that all of `warren ca` has. */
import type { Command } from "commander";
import { addMeshOptions, type ListFormat, type MeshFlags } from "../output/mesh-flags.ts";
import { addOutputOption } from "../query/output.ts";

export interface CaFlags extends MeshFlags {
  readonly output: ListFormat;
}

export function addCaOptions(command: Command): Command {
  return addOutputOption(addMeshOptions(command));
}
