import { execFileSync } from "node:child_process";
import { Command, Option } from "commander";
import { expect, test } from "vitest";
import { completionScript } from "../../../src/cli/output/completion-script.ts";

const program = new Command("warren");
program
  .command("certs")
  .description("Lists what isn't a key.")
  .option("-n, --namespace <namespace>", "of what names none")
  .addOption(new Option("-o, --output <format>", "how to print").choices(["table", "json"]));
const lab = program.command("lab").description("A lab.");
lab.command("up").option("--nodes <count>", "how many");

/** What bash offers for the last word. */
function complete(...words: string[]): string[] {
  const script = `${completionScript("bash", program)}
COMP_WORDS=(warren ${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length}
_warren; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync("bash", ["-c", script], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line !== "");
}

test.each([
  [["ce"], ["certs"]],
  [["certs", "--n"], ["--namespace"]],
  [
    ["certs", "--output", ""],
    ["table", "json"],
  ],
  [["certs", "-o", "j"], ["json"]],
  [
    ["lab", ""],
    ["up", "--help"],
  ],
  [
    ["lab", "up", "--"],
    ["--nodes", "--help"],
  ],
])("bash completes %j", (words, expected) => {
  expect(complete(...words)).toEqual(expected);
});

test("zsh gets the same function, and fish a line for each verb and flag", () => {
  expect(completionScript("zsh", program)).toMatch(/^#compdef warren\n[\s\S]*_warren\(\)/);
  const fish = completionScript("fish", program);
  expect(fish).toContain(
    "complete -c warren -f -n '__fish_use_subcommand' -a 'certs' -d 'Lists what isn'\\''t a key.'",
  );
  expect(fish).toContain("-l output -s o -r -a 'table json'");
});
