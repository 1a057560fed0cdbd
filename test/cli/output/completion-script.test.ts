import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import { expect, onTestFinished, test } from "vitest";
import { completionScript } from "../../../src/cli/output/completion-script.ts";
import { registerAll } from "../../../src/cli/program.ts";

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

test("zsh gets a function of its own, which works sourced and from $fpath", () => {
  const zsh = completionScript("zsh", program);
  expect(zsh).toMatch(/^#compdef warren\n_warren\(\) \{/);
  expect(zsh).toContain("'certs:Lists what isn'\\''t a key.'");
  expect(zsh).toContain("'certs:-o') compadd -- 'table' 'json'; return ;;");
  expect(zsh).toContain("'lab up') verbs=(); options=('--nodes:how many' '--help:what it does') ;;");
  // An array that is tied to PATH there.
  expect(zsh).not.toMatch(/\bpath=/);
  expect(zsh.trimEnd()).toMatch(/compdef _warren warren; fi$/);
});

test("fish gets a line for each verb and flag, which holds where that verb was written", () => {
  const fish = completionScript("fish", program);
  expect(fish).toContain(`complete -c warren -f -n '__warren_at ""' -a 'certs' -d 'Lists what isn'\\''t a key.'`);
  expect(fish).toContain(`-n '__warren_at "certs"' -l output -s o -x -a 'table json'`);
  expect(fish).toContain(`-n '__warren_at "lab up"' -l nodes -r -d 'how many'`);
});

test("every shell that is here can read its script", async () => {
  const all = new Command("warren");
  await registerAll(all);
  const present = (["bash", "zsh", "fish"] as const).filter((shell) => spawnSync(shell, ["-c", "true"]).status === 0);
  expect(present).toContain("bash");
  const folder = mkdtempSync(join(tmpdir(), "completion-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const shell of present) {
    const file = join(folder, shell);
    writeFileSync(file, completionScript(shell, all));
    const read = spawnSync(shell, ["-n", file], { encoding: "utf8" });
    expect({ shell, status: read.status, stderr: read.stderr }).toEqual({ shell, status: 0, stderr: "" });
  }
});
