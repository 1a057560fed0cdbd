/** A Helm chart of the same objects: holes refer to `.Values`. */
import { Document, stringify } from "yaml";
import { z } from "zod";
import {
  Because,
  Commas,
  Json,
  Knob,
  ReleaseNamespace,
  releaseNamespace,
  type Templated,
  type TemplatedObject,
  Text,
  When,
} from "./knob.ts";
import { plainNamespace } from "./plain.ts";
import { defaultValues, valuesSchema } from "./values.ts";

/** Marks survive YAML's printer as plain words and are found again in its output; no value of ours looks like one. */
const mark = {
  value: (path: string) => `__value_${path}__`,
  open: (path: string) => `__open_${path}__`,
  close: "__close__",
  because: ({ value, reason }: Because) => `${value}__because_${Buffer.from(reason).toString("hex")}__`,
};

function marked(part: Templated): unknown {
  if (part instanceof Knob) return mark.value(part.path);
  if (part instanceof ReleaseNamespace) return part.expression;
  if (part instanceof Text) return part.parts.map(expression).join("");
  if (part instanceof Because) return mark.because(part);
  if (Array.isArray(part)) {
    return part.flatMap((item: Templated): unknown[] =>
      item instanceof When ? [mark.open(item.path), marked(item.item), mark.close] : [marked(item)],
    );
  }
  if (typeof part !== "object") return part;
  return Object.fromEntries(
    Object.entries(part as TemplatedObject).flatMap(([key, value]): [string, unknown][] =>
      value instanceof When
        ? [
            [`${mark.open(value.path)}${key}`, ""],
            [key, marked(value.item)],
            [`${mark.close}${key}`, ""],
          ]
        : [[key, marked(value)]],
    ),
  );
}

function expression(piece: Text["parts"][number]): string {
  if (piece instanceof Json) return `{{ toJson .Values.${piece.path} }}`;
  // Backquotes, because YAML's printer puts such a text into quotes.
  if (piece instanceof Commas) return `{{ join \`,\` .Values.${piece.path} }}`;
  if (piece instanceof Knob) return `{{ .Values.${piece.path} }}`;
  return piece instanceof ReleaseNamespace ? piece.expression : piece;
}

/** JSON is YAML, so `toJson` needs no indentation whatever the value is. */
function template(yaml: string): string {
  return yaml
    .replaceAll(/^ *(?:- )?__open_([\w.]+?)__\w*(?:: "")?$/gm, "{{- if .Values.$1 }}")
    .replaceAll(/^ *(?:- )?__close__\w*(?:: "")?$/gm, "{{- end }}")
    .replaceAll(/__value_([\w.]+?)__/g, "{{ toJson .Values.$1 }}")
    .replaceAll(/__because_([0-9a-f]+)__/g, (_, hex: string) => ` # ${Buffer.from(hex, "hex").toString()}`);
}

export function chartTemplate(objects: readonly Templated[], heading: string): string {
  const documents = objects.map((object) => {
    const [path, inner] = object instanceof When ? [object.path, object.item] : [undefined, object];
    const yaml = `---\n${template(new Document(marked(inner)).toString({ lineWidth: 0 }))}`;
    return path === undefined ? yaml : `{{- if .Values.${path} }}\n${yaml}{{- end }}\n`;
  });
  return `${heading}${documents.join("")}`;
}

/** Text that Helm must hand on as it is, but for the namespace that Warren is installed in. */
export function escaped(yaml: string): string {
  return yaml.replaceAll("{{", '{{ "{{" }}').replaceAll(plainNamespace, releaseNamespace.expression);
}

export function chartValues(): string {
  const document = new Document(defaultValues);
  describe(document.contents, valuesSchema);
  return `# Every value with its default; values.schema.json checks what you set.\n${document.toString({ lineWidth: 130 })}`;
}

/** Helm checks what somebody sets over the defaults: a value can be missing only where it was set to null. Older Helms read no later draft. */
export function chartSchema(): string {
  return `${JSON.stringify(z.toJSONSchema(valuesSchema, { io: "output", target: "draft-7" }), undefined, 2)}\n`;
}

export function chartFile(version: string): string {
  return stringify({
    apiVersion: "v2",
    name: "warren",
    description: "Mutual TLS for every pod from one agent per node",
    type: "application",
    version,
    appVersion: version,
    kubeVersion: ">=1.30.0-0",
  });
}

interface Commentable {
  readonly items?: readonly { readonly key?: { value?: string; commentBefore?: string }; readonly value?: unknown }[];
}

/** Puts each value's description above it. */
function describe(node: unknown, schema: z.ZodType): void {
  const object = unwrapped(schema);
  if (!(object instanceof z.ZodObject)) return;
  for (const { key, value } of (node as Commentable).items ?? []) {
    const field = key?.value === undefined ? undefined : (object.shape as Record<string, z.ZodType>)[key.value];
    if (key === undefined || field === undefined) continue;
    const description = field.description ?? unwrapped(field).description;
    if (description !== undefined) key.commentBefore = ` ${description}`;
    describe(value, field);
  }
}

function unwrapped(schema: z.ZodType): z.ZodType {
  return schema instanceof z.ZodPrefault ? unwrapped(schema.unwrap() as z.ZodType) : schema;
}
