/** The verbs in the test's own process, with patience: a node that a stall keeps from answering for seconds is not one that does not answer. */
import { type CliResult, document as documentOf, warren as run } from "../../cli/support/run-cli.ts";

/** Verbs that have no patience to lengthen. */
export const askNoAgent: readonly string[] = ["authz", "describe", "lab", "lint"];
export const patience: readonly string[] = ["--timeout", "30s"];

function patient(words: readonly string[]): readonly string[] {
  return askNoAgent.includes(words[0] ?? "") ? words : [...words, ...patience];
}

export function warren(...words: readonly string[]): Promise<CliResult> {
  return run(...patient(words));
}

export function document<T = Record<string, unknown>>(...words: readonly string[]): Promise<T & { code: number }> {
  return documentOf<T>(...patient(words));
}
