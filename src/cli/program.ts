/**
 * The command line: one file per verb in this folder, each loaded only when its verb runs, so that `--help` stays as quick as
 * Node itself. Exit codes: 0 fine, 1 findings or failure, 2 usage or configuration, 3 unreachable or partial, 4 wait timed out.
 */
import { Command, CommanderError } from "commander";
import { MeshError } from "../lib/errors.ts";

/** A verb registers itself and returns its exit code from its action through `exit`. */
export type Exit = (code: number) => void;

export async function runCli(args: readonly string[]): Promise<number> {
  let exitCode = 0;
  const exit: Exit = (code) => {
    exitCode = code;
  };
  const program = new Command("warren")
    .description("An ambient service mesh: mutual TLS for every pod from one agent per node.")
    .version("0.1.0")
    .exitOverride();
  registerVerbs(program, exit);
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof MeshError) {
      process.stderr.write(`warren: ${error.message} (${error.code})\n`);
      return error.code.startsWith("MESH_CONFIG") ? 2 : 1;
    }
    throw error;
  }
}

function registerVerbs(_program: Command, _exit: Exit): void {}
