/** `warren demo`: runs the demo and prints one line per check; exit code 1 if any promise did not hold. */
import { type Command, Option } from "commander";
import type { LabOptions } from "../lab/options.ts";
import type { Exit } from "./exit.ts";

interface DemoOptions {
  readonly json?: true;
  readonly keep?: true;
  readonly engine?: NonNullable<LabOptions["engine"]>;
  readonly backend?: NonNullable<LabOptions["backend"]>;
}

const help = `
Needs root. Everything happens in network namespaces that are removed again.

Exit status:
  0  every promise held
  1  one did not
  2  the command line is wrong

Examples:
  warren demo
  warren demo --keep
  warren demo --engine typescript --json | jq '.checks[] | select(.ok | not)'`;

export function registerDemo(program: Command, exit: Exit): void {
  program
    .command("demo")
    .description("Builds a two-node lab, runs real programs in it and shows what the mesh does to their traffic.")
    .option("--json", "print one JSON document, {checks:[{name,ok,detail}],ok}, instead of lines")
    .option("--keep", "leave the lab up afterwards and print what to try next")
    .addOption(new Option("--engine <kind>", "what moves the bytes").choices(["typescript", "native"]))
    .addOption(new Option("--backend <kind>", "what captures").choices(["auto", "ebpf", "nftables"]))
    .addHelpText("after", help)
    .action(async (options: DemoOptions) => exit(await runDemoCommand(options)));
}

async function runDemoCommand(options: DemoOptions): Promise<number> {
  const { default: colours } = await import("picocolors");
  const { Checklist } = await import("../lab/demo/checklist.ts");
  const { stateRoot } = await import("../lab/verbs/choose.ts");
  const { runDemo, startDemoLab, keepHint, logTails, openHint } = await import("../lab/demo/demo.ts");
  const quiet = options.json === true;
  const say = (line: string) => {
    if (!quiet) process.stdout.write(`${line}\n`);
  };
  const checklist = new Checklist({
    onScene: (title) => say(`\n${colours.bold(title)}`),
    onOutput: (command, lines) => {
      say(`\n   ${colours.bold(`$ ${command}`)}`);
      for (const line of lines) say(`   ${line}`);
    },
    onCheck: ({ name, ok, detail }) =>
      say(` ${ok ? colours.green("✔") : colours.red("✘")} ${name}  ${colours.dim(detail)}`),
  });
  const stop = new AbortController();
  const interrupt = () => stop.abort(new Error("interrupted"));
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  const startedAt = performance.now();
  const seconds = () => ((performance.now() - startedAt) / 1000).toFixed(1);
  let playing = false;
  const lab = await startDemoLab(
    {
      // Where its own verbs look for it.
      stateRoot: stateRoot(),
      ...(options.engine !== undefined && { engine: options.engine }),
      ...(options.backend !== undefined && { backend: options.backend }),
      // What ends when the lab is taken down, or because a scene ended it, is no news.
      onEvent: (line: string) => {
        if (!playing) say(colours.dim(`${seconds().padStart(6)} s  ${line}`));
      },
    },
    stop.signal,
  );
  let kept = false;
  playing = true;
  try {
    await runDemo(lab, checklist);
    kept = options.keep === true;
    if (!checklist.ok) process.stderr.write(`\n${logTails(lab)}\n`);
  } finally {
    if (!kept) await lab.down();
  }
  const failed = checklist.checks.filter((check) => !check.ok).length;
  if (quiet)
    process.stdout.write(
      `${JSON.stringify({ schema: "warren.demo/v1", checks: checklist.checks, ok: checklist.ok })}\n`,
    );
  say(`\n${checklist.checks.length - failed} of ${checklist.checks.length} hold (${seconds()} s)`);
  if (!kept) say(openHint);
  if (kept) {
    say(keepHint(lab));
    await lab.handOver();
  }
  return checklist.ok ? 0 : 1;
}
