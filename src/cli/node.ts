/** `warren node`: the node agent as a process. */
import type { Command } from "commander";
import { version } from "../lib/version.ts";
import type { Exit } from "./exit.ts";

export async function registerNode(program: Command, exit: Exit): Promise<void> {
  program
    .command("node")
    .description("Runs the agent of one node: captures its pods' traffic and carries it through the mesh.")
    .argument("[flags...]", "any of the settings below, as --key=value")
    // Flags are read together with variables and file, so that all problems are reported at once.
    .helpOption(false)
    .allowUnknownOption()
    .action(async (_flags: readonly string[], _options: object, command: Command) => {
      const { runNode, nodeHelp } = await import("../node/run.ts");
      if (command.args.some((argument) => argument === "--help" || argument === "-h")) {
        process.stdout.write(`${nodeHelp()}\n`);
        return;
      }
      exit(await runNode({ args: command.args, environment: process.env, version }));
    });
}
