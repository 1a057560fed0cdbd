/** `warren control`: the control plane as a process. */
import type { Command } from "commander";
import type { Exit } from "./exit.ts";

const endings = `
Exit status:
  0  it was told to stop, and did
  1  it cannot run, and says why
  2  the configuration is wrong

Examples:
  warren control --config control.yaml
  warren control --kubernetes-config=incluster --log-level=debug`;

export async function registerControl(program: Command, exit: Exit): Promise<void> {
  const { renderHelp } = await import("../lib/config-help.ts");
  const { controlConfigSchema } = await import("../control/config.ts");
  program
    .command("control")
    .description("Runs the control plane: tells agents of the mesh, and is its certificate authority.")
    .argument("[flags...]")
    .allowUnknownOption()
    .addHelpText(
      "after",
      () => `\nConfiguration, flags before variables before file:\n${renderHelp(controlConfigSchema)}\n${endings}`,
    )
    .action(async (_flags: readonly string[], _options: object, command: Command) => {
      const { runControl } = await import("../control/run.ts");
      exit(await runControl({ args: command.args, environment: process.env }));
    });
}
