/** `warren control`: the control plane as a process. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";

export async function registerControl(program: Command, exit: Exit): Promise<void> {
  const { renderHelp } = await import("../lib/config-help.ts");
  const { controlConfigSchema } = await import("../control/config.ts");
  program
    .command("control")
    .description("Runs the control plane: the mesh's certificate authority.")
    .argument("[flags...]")
    .allowUnknownOption()
    .addHelpText(
      "after",
      () => `\nConfiguration, flags before variables before file:\n${renderHelp(controlConfigSchema)}`,
    )
    .action(async (_flags: readonly string[], _options: object, command: Command) => {
      const { runControl } = await import("../control/run.ts");
      exit(await runControl({ args: command.args, environment: process.env }));
    });
}
