/**
 * How the verbs print whose answer is no listing: one document, of which people see lines, programs JSON or YAML, and pipelines the
 * rows, one a line. Colours only for a terminal.
 */
import { type Command, Option } from "commander";
import picocolors from "picocolors";
import { type ListFormat, listFormats } from "../output/mesh-flags.ts";

export function addOutputOption(command: Command): Command {
  return command.addOption(new Option("-o, --output <format>", "how to print").choices(listFormats).default("table"));
}

export type Colours = ReturnType<typeof picocolors.createColors>;

/** picocolors alone would colour a pipe where the variable `CI` is set. */
export function coloursOf(stream: { readonly isTTY?: boolean }, environment: NodeJS.ProcessEnv): Colours {
  const wanted = stream.isTTY === true && environment["TERM"] !== "dumb" && !environment["NO_COLOR"];
  return picocolors.createColors(wanted);
}

export interface Answer<Row extends object> {
  /** `warren.<verb>/v1`: a document under one name grows and does not change. */
  readonly schema: string;
  /** The whole of it but for its schema. */
  readonly document: object;
  /** Its parts, for programs that read line by line. */
  readonly rows: readonly Row[];
  readonly name: (row: Row) => string;
  /** For people. */
  readonly lines: (colours: Colours, wide: boolean) => readonly string[];
}

export async function renderAnswer<Row extends object>(
  { schema, document, rows, name, lines }: Answer<Row>,
  format: ListFormat,
  colours: Colours,
): Promise<string> {
  switch (format) {
    case "table":
    case "wide":
      return lines(colours, format === "wide").join("\n");
    case "json":
      return JSON.stringify({ schema, ...document }, undefined, 2);
    case "yaml": {
      const { stringify } = await import("yaml");
      return stringify({ schema, ...document }, { aliasDuplicateObjects: false }).trimEnd();
    }
    case "jsonl":
      return rows.map((row) => JSON.stringify({ schema, ...row })).join("\n");
    case "name":
      return rows.map(name).join("\n");
  }
}

/** Nothing at all where there is nothing to say. */
export async function printAnswer<Row extends object>(
  answer: Answer<Row>,
  { output, color = true }: { readonly output: ListFormat; readonly color?: boolean },
): Promise<void> {
  const environment = { ...process.env, ...(color ? {} : { NO_COLOR: "1" }) };
  const text = await renderAnswer(answer, output, coloursOf(process.stdout, environment));
  if (text !== "") process.stdout.write(`${text}\n`);
}
