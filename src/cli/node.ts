/** `warren node`: the node agent as a process. */
import type { Command } from "commander";
import { version } from "../lib/version.ts";
import type { Exit } from "./exit.ts";

/** What the verb does, for a process that is nothing else: what reads other verbs' flags would stay in its memory. */
export async function nodeVerb(args: readonly string[]): Promise<number> {
  const { runNode, nodeHelp } = await import("../node/run.ts");
  if (args.some((argument) => argument === "--help" || argument === "-h")) {
    process.stdout.write(`${nodeHelp()}\n`);
    return 0;
  }
  return runNode({ args, environment: process.env, version });
}

export async function registerNode(program: Command, exit: Exit): Promise<void> {
  program
    .command("node")
    .description("Runs the agent of one node: captures its pods' traffic and carries it through the mesh.")
    .argument("[flags...]", "any of the settings below, as --key=value")
    // Flags are read together with variables and file, so that all problems are reported at once.
    .helpOption(false)
    .allowUnknownOption()
    .action(async (_flags: readonly string[], _options: object, command: Command) => {
      exit(await nodeVerb(command.args));
    });
}
