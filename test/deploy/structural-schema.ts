/** What an API server checks of an object by a CRD's schema, as far as our schemas go: structure, strict fields, formats, CEL rules. */
import { Environment } from "@marcbachmann/cel-js";
import { z } from "zod";

export interface Schema {
  readonly type?: "object" | "array" | "string" | "integer" | undefined;
  readonly description?: string | undefined;
  readonly properties?: Readonly<Record<string, Schema>> | undefined;
  readonly additionalProperties?: Schema | undefined;
  readonly items?: Schema | undefined;
  readonly required?: readonly string[] | undefined;
  readonly enum?: readonly string[] | undefined;
  readonly pattern?: string | undefined;
  readonly format?: string | undefined;
  readonly minLength?: number | undefined;
  readonly maxLength?: number | undefined;
  readonly minItems?: number | undefined;
  readonly maxItems?: number | undefined;
  readonly minProperties?: number | undefined;
  readonly maxProperties?: number | undefined;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean | undefined;
  readonly "x-kubernetes-list-type"?: string | undefined;
  readonly "x-kubernetes-list-map-keys"?: readonly string[] | undefined;
  readonly "x-kubernetes-validations"?: readonly { readonly rule: string; readonly message: string }[] | undefined;
}

/** A keyword that this validator does not know fails the parse: what isn't checked here must not look as if it were. */
export const schemaSchema: z.ZodType<Schema> = z.strictObject({
  type: z.enum(["object", "array", "string", "integer"]),
  description: z.string().optional(),
  get properties() {
    return z.record(z.string(), schemaSchema).optional();
  },
  get additionalProperties() {
    return schemaSchema.optional();
  },
  get items() {
    return schemaSchema.optional();
  },
  required: z.array(z.string()).optional(),
  enum: z.array(z.string()).optional(),
  pattern: z.string().optional(),
  format: z.string().optional(),
  minLength: z.int().optional(),
  maxLength: z.int().optional(),
  minItems: z.int().optional(),
  maxItems: z.int().optional(),
  minProperties: z.int().optional(),
  maxProperties: z.int().optional(),
  "x-kubernetes-preserve-unknown-fields": z.boolean().optional(),
  "x-kubernetes-list-type": z.string().optional(),
  "x-kubernetes-list-map-keys": z.array(z.string()).optional(),
  "x-kubernetes-validations": z.array(z.strictObject({ rule: z.string(), message: z.string() })).optional(),
});

const cel = new Environment({ homogeneousAggregateLiterals: false }).registerVariable("self", "dyn");

/** What is wrong, as `path: why`; empty for an object that is let in. */
export function violations(schema: Schema, value: unknown, path = ""): string[] {
  const wrong = (why: string): string[] => [`${path || "it"}: ${why}`];
  switch (schema.type) {
    case "string":
      return typeof value === "string" ? textViolations(schema, value).flatMap(wrong) : wrong("is no string");
    case "integer":
      return Number.isInteger(value) ? [] : wrong("is no integer");
    case "array": {
      if (!Array.isArray(value)) return wrong("is no list");
      const { items, minItems = 0, maxItems = Number.POSITIVE_INFINITY } = schema;
      const counted = value.length < minItems || value.length > maxItems ? wrong(`has ${value.length} items`) : [];
      const below =
        items === undefined ? [] : value.flatMap((item, index) => violations(items, item, `${path}[${index}]`));
      return [...counted, ...below];
    }
    case "object":
    case undefined:
      if (typeof value !== "object" || value === null || Array.isArray(value)) return wrong("is no object");
      return objectViolations(schema, value as Record<string, unknown>, path);
  }
}

function textViolations(schema: Schema, value: string): string[] {
  const { enum: known, pattern, minLength = 0, maxLength = Number.POSITIVE_INFINITY } = schema;
  const found: string[] = [];
  if (known !== undefined && !known.includes(value)) found.push(`is none of ${known.join(", ")}`);
  if (pattern !== undefined && !new RegExp(pattern, "u").test(value)) found.push(`${value} does not match ${pattern}`);
  if (value.length < minLength || value.length > maxLength) found.push(`has ${value.length} characters`);
  return found;
}

function objectViolations(schema: Schema, value: Record<string, unknown>, path: string): string[] {
  const { properties = {}, additionalProperties, required = [] } = schema;
  const at = (key: string): string => (path === "" ? key : `${path}.${key}`);
  const keys = Object.keys(value);
  const { minProperties = 0, maxProperties = Number.POSITIVE_INFINITY } = schema;
  const found = required.filter((key) => !keys.includes(key)).map((key) => `${at(key)}: is missing`);
  if (keys.length < minProperties || keys.length > maxProperties) found.push(`${path}: has ${keys.length} fields`);
  for (const key of keys) {
    const below = properties[key] ?? additionalProperties;
    if (below !== undefined) found.push(...violations(below, value[key], at(key)));
    else if (schema["x-kubernetes-preserve-unknown-fields"] !== true) found.push(`${at(key)}: unknown field`);
  }
  // The API server asks CEL rules only of what has the right structure.
  if (found.length > 0) return found;
  return (schema["x-kubernetes-validations"] ?? []).flatMap(({ rule, message }) =>
    cel.evaluate(rule, { self: value }) === true ? [] : [`${path || "it"}: ${message}`],
  );
}

/** `spec.rules[].from` of every field below a schema; `{}` stands for any key. */
export function fieldsOf(schema: Schema, path = ""): string[] {
  const below = Object.entries(schema.properties ?? {}).flatMap(([key, child]) => {
    const here = path === "" ? key : `${path}.${key}`;
    return [here, ...fieldsOf(child, here)];
  });
  const items = schema.items === undefined ? [] : fieldsOf(schema.items, `${path}[]`);
  const any = schema.additionalProperties === undefined ? [] : fieldsOf(schema.additionalProperties, `${path}{}`);
  return [...below, ...items, ...any];
}
