/** What a process says about its configuration, made from its schema so that it cannot be out of date: `--help` and a page of docs/. */
import type { z } from "zod";
import { type Knob, knobsOf } from "./config-schema.ts";

/** The body of `--help`: every knob with what to write, its default and its reason. */
export function renderHelp(schema: z.ZodObject, width = 100): string {
  const { list, groups } = knobsOf(schema);
  const lines = ["  --config=<path>", "      A YAML file with any of the keys below; also WARREN_CONFIG."];
  let group = "";
  for (const knob of list) {
    const [first = ""] = knob.path;
    const heading = knob.path.length > 1 ? first : "";
    if (heading !== group && heading !== "")
      lines.push("", ...wrap(`${heading}: ${groups.get(heading) ?? ""}`, width, ""));
    group = heading;
    lines.push(`  ${knob.flag}=<${knob.placeholder}>${standing(knob, " ")}`);
    lines.push(...wrap(knob.description, width, "      "));
  }
  return lines.join("\n");
}

/** A Markdown table of every knob with its flag and variable. */
export function renderMarkdown(schema: z.ZodObject): string {
  const rows = knobsOf(schema).list.map((knob) => {
    const cells = [
      `\`${knob.key}\``,
      `\`${knob.placeholder}\``,
      knob.required ? "required" : knob.defaultText === undefined ? "" : `\`${knob.defaultText}\``,
      `${knob.description}<br>\`${knob.flag}\` \`${knob.variable}\``,
    ];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  });
  return ["| key | value | default | what it does |", "|---|---|---|---|", ...rows].join("\n");
}

function standing(knob: Knob, space: string): string {
  if (knob.required) return `${space}(required)`;
  return knob.defaultText === undefined ? "" : `${space}(default ${knob.defaultText})`;
}

function wrap(text: string, width: number, indent: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = "";
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  if (line !== "") lines.push(indent + line);
  return lines;
}
