/** The result of checks, and how it is printed. */
import { coloursFor } from "../output/listing.ts";
import type { Colours } from "./output.ts";

export type CheckResult = "ok" | "warning" | "failure" | "skipped";

export interface Check {
  /** Stable: docs/commands.md explains each. */
  readonly code: string;
  /** What it is about; checks of one group stand together. */
  readonly group: string;
  /** As a sentence that is true when all is well. */
  readonly name: string;
  readonly result: CheckResult;
  /** What was found. */
  readonly detail: string;
  /** What to do; empty when all is well. */
  readonly hint: string;
}

/** `problems` empty: fine. */
export function checkOf(
  base: Pick<Check, "code" | "group" | "name">,
  severity: "warning" | "failure",
  problems: readonly string[],
  hint: string,
  fine = "",
): Check {
  const { code, group, name } = base;
  if (problems.length === 0) return { code, group, name, result: "ok", detail: fine, hint: "" };
  const shown = problems.slice(0, shownProblems).join("; ");
  const more = problems.length > shownProblems ? `; and ${problems.length - shownProblems} more` : "";
  return { code, group, name, result: severity, detail: shown + more, hint };
}

export function skipped({ code, group, name }: Pick<Check, "code" | "group" | "name">, why: string): Check {
  return { code, group, name, result: "skipped", detail: why, hint: "" };
}

const shownProblems = 5;
const marks = { ok: "√", warning: "‼", failure: "×", skipped: "-" } as const;

export interface CheckPrintFlags {
  readonly output: "table" | "short" | "json";
  readonly failOn: "warning" | "failure";
  readonly color: boolean;
}

export async function printFindings(checks: readonly Check[], flags: CheckPrintFlags): Promise<number> {
  const ok = !checks.some((check) => fails(check, flags.failOn));
  if (flags.output === "json") {
    process.stdout.write(`${JSON.stringify({ schema: "warren.check/v1", ok, checks }, undefined, 2)}\n`);
  } else {
    const shown = flags.output === "short" ? checks.filter(({ result }) => result !== "ok") : checks;
    for (const line of checkLines(shown, coloursFor(flags))) process.stdout.write(`${line}\n`);
    const count = (result: CheckResult) => checks.filter((check) => check.result === result).length;
    process.stderr.write(`${count("ok")} fine, ${count("warning")} warnings, ${count("failure")} failures\n`);
  }
  return ok ? 0 : 1;
}

export function checkLines(checks: readonly Check[], colours: Colours): string[] {
  const styles = { ok: colours.green, warning: colours.yellow, failure: colours.red, skipped: colours.dim };
  const lines: string[] = [];
  let group = "";
  for (const { group: its, name, result, detail, hint, code } of checks) {
    if (its !== group) lines.push(...(group === "" ? [] : [""]), colours.bold(its));
    group = its;
    lines.push(`${styles[result](marks[result])} ${name}${detail === "" ? "" : `  ${colours.dim(detail)}`}`);
    if (hint !== "") lines.push(`    ${hint} (${code})`);
  }
  return lines;
}

function fails({ result }: Check, failOn: "warning" | "failure"): boolean {
  return result === "failure" || (failOn === "warning" && result === "warning");
}
