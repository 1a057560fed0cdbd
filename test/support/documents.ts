/** The documents that verbs print, held against the schemas that docs/schemas/ publishes. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

/** The part of JSON Schema (2020-12) that the published schemas use. */
interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema;
  readonly $defs?: Readonly<Record<string, Schema>>;
}

const known = new Set([
  "$schema",
  "$id",
  "$ref",
  "$defs",
  "title",
  "description",
  "type",
  "const",
  "enum",
  "properties",
  "required",
  "additionalProperties",
  "items",
]);

/** `warren.status/v1` is published as docs/schemas/status-v1.json. */
export function readSchema(name: string): Schema {
  const file = `${name.replace(/^warren\./, "").replace("/", "-")}.json`;
  return JSON.parse(
    readFileSync(fileURLToPath(new URL(`../../docs/schemas/${file}`, import.meta.url)), "utf8"),
  ) as Schema;
}

/** `code` is the test's own addition. */
export function expectDocument(document: object, name: string): void {
  const { code: _, ...rest } = document as { code?: unknown };
  expect(violations(rest, name)).toEqual([]);
}

export function violations(value: unknown, name: string): string[] {
  const root = readSchema(name);
  return [...check(value, root, root, "$")];
}

function* check(value: unknown, schema: Schema, root: Schema, path: string): Iterable<string> {
  for (const key of Object.keys(schema))
    if (!known.has(key)) yield `${path}: the schema uses ${key}, which nobody checks here`;
  if (schema.$ref !== undefined) {
    const target = root.$defs?.[schema.$ref.replace("#/$defs/", "")];
    if (target === undefined) yield `${path}: ${schema.$ref} leads nowhere`;
    else yield* check(value, target, root, path);
    return;
  }
  if (
    schema.type !== undefined &&
    typeOf(value) !== schema.type &&
    !(schema.type === "number" && typeOf(value) === "integer")
  ) {
    yield `${path} is ${typeOf(value)}, not ${schema.type}`;
    return;
  }
  if (schema.const !== undefined && value !== schema.const) yield `${path} is not ${JSON.stringify(schema.const)}`;
  if (schema.enum !== undefined && !schema.enum.includes(value))
    yield `${path} is ${JSON.stringify(value)}, none of ${schema.enum.join(", ")}`;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries())
      if (schema.items !== undefined) yield* check(item, schema.items, root, `${path}[${index}]`);
  } else if (typeof value === "object" && value !== null) {
    const fields = value as Readonly<Record<string, unknown>>;
    for (const name of schema.required ?? []) if (!(name in fields)) yield `${path}.${name} is missing`;
    for (const [name, field] of Object.entries(fields)) {
      const its = schema.properties?.[name] ?? schema.additionalProperties;
      // Readers must take what is new; a writer must have said what it writes.
      if (its === false || (its === undefined && schema.properties !== undefined))
        yield `${path}.${name} is not in the schema`;
      else if (typeof its === "object") yield* check(field, its, root, `${path}.${name}`);
    }
  }
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number" && Number.isInteger(value)) return "integer";
  return typeof value;
}
