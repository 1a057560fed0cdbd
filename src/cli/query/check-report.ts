/** The result of checks, and how it is printed. */
import type { ListFormat } from "../output/mesh-flags.ts";
import { counted } from "../output/words.ts";
import type { Answer, Colours } from "./output.ts";

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
  /** `short` leaves out what is fine. */
  readonly output: ListFormat | "short";
  readonly failOn: "warning" | "failure";
}

export function findingsAnswer(checks: readonly Check[], flags: CheckPrintFlags): Answer<Check> {
  const shown = flags.output === "short" ? checks.filter(({ result }) => result !== "ok") : checks;
  return {
    schema: "warren.check/v1",
    document: { ok: endOf(checks, flags).code === 0, checks },
    rows: checks,
    name: ({ code }) => code,
    lines: (colours, wide) => checkLines(shown, colours, wide),
  };
}

/** The exit code, and for people how many there are of each. */
export function endOf(
  checks: readonly Check[],
  { failOn }: Pick<CheckPrintFlags, "failOn">,
): { readonly code: 0 | 1; readonly advice: string } {
  const count = (result: CheckResult) => checks.filter((check) => check.result === result).length;
  const counts = [
    `${count("ok")} fine`,
    counted(count("warning"), "warning"),
    counted(count("failure"), "failure"),
    ...(count("skipped") === 0 ? [] : [`${count("skipped")} could not be looked at`]),
  ];
  return { code: checks.some((check) => fails(check, failOn)) ? 1 : 0, advice: counts.join(", ") };
}

/** `wide` has the code of every check, for who reads on in docs/commands.md. */
export function checkLines(checks: readonly Check[], colours: Colours, wide = false): string[] {
  const styles = { ok: colours.green, warning: colours.yellow, failure: colours.red, skipped: colours.dim };
  const lines: string[] = [];
  let group = "";
  for (const { group: its, name, result, detail, hint, code } of checks) {
    if (its !== group) lines.push(...(group === "" ? [] : [""]), colours.bold(its));
    group = its;
    lines.push(`${styles[result](marks[result])} ${name}${detail === "" ? "" : `  ${colours.dim(detail)}`}`);
    if (hint !== "") lines.push(`    ${hint} ${colours.dim(`(${code})`)}`);
    else if (wide) lines.push(`    ${colours.dim(`(${code})`)}`);
  }
  return lines;
}

function fails({ result }: Check, failOn: "warning" | "failure"): boolean {
  return result === "failure" || (failOn === "warning" && result === "warning");
}
