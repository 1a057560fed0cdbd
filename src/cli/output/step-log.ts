/** What a verb that changes things did, step by step: lines as they happen for people and pipelines, one document in the end for programs. */
import { coloursFor } from "./listing.ts";
import type { ListFormat } from "./mesh-flags.ts";

export interface Step {
  readonly step: string;
  readonly ok: boolean;
  /** Worth knowing, and nothing that was done. */
  readonly note: boolean;
  readonly detail: string;
  /** Since the verb began. */
  readonly ms: number;
}

export interface StepFlags {
  readonly output: ListFormat;
  readonly color: boolean;
}

export class StepLog {
  readonly #steps: Step[] = [];
  readonly #startedAt = performance.now();
  readonly #schema: string;
  readonly #flags: StepFlags;

  constructor(schema: string, flags: StepFlags) {
    this.#schema = schema;
    this.#flags = flags;
  }

  tell(step: string, { ok = true, detail = "" }: { readonly ok?: boolean; readonly detail?: string } = {}): void {
    this.#add({ step, ok, detail, note: false });
  }

  note(step: string, detail = ""): void {
    this.#add({ step, ok: true, detail, note: true });
  }

  /** Once: for programs the document, with the steps and whatever the verb adds; `names` are the objects that it was about. */
  async end(more: object, names: readonly string[]): Promise<void> {
    const document = { schema: this.#schema, ...more, steps: this.#steps };
    switch (this.#flags.output) {
      case "json":
        process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
        return;
      case "yaml":
        process.stdout.write((await import("yaml")).stringify(document, { aliasDuplicateObjects: false }));
        return;
      case "name":
        for (const name of names) process.stdout.write(`${name}\n`);
        return;
      case "table":
      case "wide":
      case "jsonl":
    }
  }

  #add(told: Omit<Step, "ms">): void {
    const step: Step = { ...told, ms: Math.round(performance.now() - this.#startedAt) };
    this.#steps.push(step);
    const { output } = this.#flags;
    if (output === "jsonl") process.stdout.write(`${JSON.stringify({ schema: this.#schema, ...step })}\n`);
    if (output === "table" || output === "wide") process.stdout.write(`${this.#line(step, output === "wide")}\n`);
  }

  #line({ step, ok, note, detail, ms }: Step, wide: boolean): string {
    const colours = coloursFor(this.#flags);
    const mark = note ? colours.yellow("‼") : ok ? colours.green("√") : colours.red("×");
    const after = [detail, wide ? `${ms} ms` : ""].filter((text) => text !== "").join("  ");
    return `${mark} ${step}${after === "" ? "" : `  ${colours.dim(after)}`}`;
  }
}
