/** How the verbs that answer questions print: a table for people, JSON or YAML for programs, colours only for a terminal. */
import { type Command, Option } from "commander";
import picocolors from "picocolors";

export type OutputFormat = "table" | "json" | "yaml";

/** Documents for programs name their schema, which grows and does not change. */
export const outputVersion = "warren.dev/v1";

export function addOutputOption(command: Command): Command {
  return command.addOption(
    new Option("-o, --output <format>", "table, json or yaml").choices(["table", "json", "yaml"]).default("table"),
  );
}

export type Colours = ReturnType<typeof picocolors.createColors>;

/** picocolors alone would colour a pipe where the variable `CI` is set. */
export function coloursOf(stream: { readonly isTTY?: boolean }, environment: NodeJS.ProcessEnv): Colours {
  const wanted = stream.isTTY === true && environment["TERM"] !== "dumb" && !environment["NO_COLOR"];
  return picocolors.createColors(wanted);
}

export async function print(
  format: OutputFormat,
  kind: string,
  value: object,
  table: (colours: Colours) => readonly string[],
): Promise<void> {
  process.stdout.write(`${await render(format, kind, value, () => table(coloursOf(process.stdout, process.env)))}\n`);
}

async function render(
  format: OutputFormat,
  kind: string,
  value: object,
  table: () => readonly string[],
): Promise<string> {
  switch (format) {
    case "table":
      return table().join("\n");
    case "json":
      return JSON.stringify({ apiVersion: outputVersion, kind, ...value }, undefined, 2);
    case "yaml": {
      const { stringify } = await import("yaml");
      return stringify({ apiVersion: outputVersion, kind, ...value }, { aliasDuplicateObjects: false }).trimEnd();
    }
  }
}
