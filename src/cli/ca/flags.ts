/** Flags that all of `warren ca` has. */
import { type Command, Option } from "commander";
import { addMeshOptions, type MeshFlags } from "../output/mesh-flags.ts";

export interface CaFlags extends MeshFlags {
  readonly output: "table" | "json";
}

export function addCaOptions(command: Command): Command {
  return addMeshOptions(command).addOption(
    new Option("-o, --output <format>", "how to print").choices(["table", "json"]).default("table"),
  );
}
