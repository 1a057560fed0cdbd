/** `warren completion`: scripts that let a shell complete verbs and flags, made from the verbs themselves. */
import { Argument, type Command } from "commander";
import type { Exit } from "./exit.ts";

const help = `
Exit status:
  0  the script was printed
  2  the command line is wrong

Examples:
  source <(warren completion bash)
  warren completion zsh > "\${fpath[1]}/_warren"
  warren completion fish > ~/.config/fish/completions/warren.fish`;

/** `load` registers every verb on a program, so that their flags can be read. */
export function registerCompletion(program: Command, exit: Exit, load: (program: Command) => Promise<void>): void {
  program
    .command("completion")
    .description("Prints a script that completes verbs and flags in a shell.")
    .addArgument(new Argument("<shell>", "which shell").choices(["bash", "zsh", "fish"]))
    .addHelpText("after", help)
    .action(async (shell: "bash" | "zsh" | "fish") => {
      const [{ Command: Program }, { completionScript }] = [
        await import("commander"),
        await import("./output/completion-script.ts"),
      ];
      const all = new Program("warren");
      await load(all);
      process.stdout.write(completionScript(shell, all));
      exit(0);
    });
}
