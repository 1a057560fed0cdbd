/** The verbs in the test's own process, with patience: a node that a stall keeps from answering for seconds is not one that does not answer. */
import { type CliResult, document as documentOf, warren as run } from "../../cli/support/run-cli.ts";

const askNoAgent = new Set(["authz", "describe", "lab", "lint"]);

function patient(words: readonly string[]): readonly string[] {
  return askNoAgent.has(words[0] ?? "") ? words : [...words, "--timeout", "30s"];
}

export function warren(...words: readonly string[]): Promise<CliResult> {
  return run(...patient(words));
}

export function document<T = Record<string, unknown>>(...words: readonly string[]): Promise<T & { code: number }> {
  return documentOf<T>(...patient(words));
}
