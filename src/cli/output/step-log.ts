/** What a verb that changes things did, step by step: lines as they happen for people, one document in the end for programs. */
import { coloursFor } from "./listing.ts";

export interface Step {
  readonly step: string;
  readonly ok: boolean;
  readonly detail: string;
  /** Since the verb began. */
  readonly ms: number;
}

export class StepLog {
  readonly #steps: Step[] = [];
  readonly #startedAt = performance.now();
  readonly #flags: { readonly output: "text" | "json"; readonly color: boolean };

  constructor(flags: { readonly output: "text" | "json"; readonly color: boolean }) {
    this.#flags = flags;
  }

  tell(step: string, { ok = true, detail = "" }: { readonly ok?: boolean; readonly detail?: string } = {}): void {
    const ms = Math.round(performance.now() - this.#startedAt);
    this.#steps.push({ step, ok, detail, ms });
    if (this.#flags.output !== "text") return;
    const colours = coloursFor(this.#flags);
    const mark = ok ? colours.green("√") : colours.red("×");
    process.stdout.write(`${mark} ${step}${detail === "" ? "" : `  ${colours.dim(detail)}`}\n`);
  }

  /** For programs, once: the steps and whatever the verb adds. */
  end(schema: string, more: object): void {
    if (this.#flags.output !== "json") return;
    process.stdout.write(`${JSON.stringify({ schema, ...more, steps: this.#steps }, undefined, 2)}\n`);
  }
}
