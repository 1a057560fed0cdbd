/** Plain manifests: every hole filled with its default. */
import { Document } from "yaml";
import {
  Because,
  Commas,
  Json,
  Knob,
  ReleaseNamespace,
  type Templated,
  type TemplatedObject,
  Text,
  When,
} from "./knob.ts";
import type { Values } from "./values.ts";

export const plainNamespace = "warren-system";

/** The value at a path such as `node.cni.enabled`. */
export function valueAt(values: Values, path: string): unknown {
  let at: unknown = values;
  for (const key of path.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) throw new Error(`there is no value ${path}`);
    at = (at as Readonly<Record<string, unknown>>)[key];
  }
  return at;
}

/** As a template's `if` takes it. */
export function isOn(values: Values, path: string): boolean {
  return ![false, "", undefined].includes(valueAt(values, path) as boolean | string | undefined);
}

/** An object as JSON; undefined for one that its knob turns off. */
export function fill(part: Templated, values: Values): unknown {
  if (part instanceof Knob) return valueAt(values, part.path);
  if (part instanceof ReleaseNamespace) return plainNamespace;
  if (part instanceof Text) return part.parts.map((piece) => textOf(piece, values)).join("");
  if (part instanceof Because) return part.value;
  if (part instanceof When) return isOn(values, part.path) ? fill(part.item, values) : undefined;
  if (Array.isArray(part)) {
    return part.map((item: Templated) => fill(item, values)).filter((item) => item !== undefined);
  }
  if (typeof part !== "object") return part;
  const entries = Object.entries(part as TemplatedObject).map(([key, value]) => [key, fill(value, values)] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function textOf(piece: Text["parts"][number], values: Values): string {
  if (piece instanceof Json) return JSON.stringify(valueAt(values, piece.path));
  return piece instanceof Commas ? String(valueAt(values, piece.path)) : String(fill(piece, values));
}

/** One YAML stream. */
export function plainManifest(objects: readonly Templated[], values: Values, heading: string): string {
  const documents = objects
    .map((object) => ({ object, filled: fill(object, values) }))
    .filter(({ filled }) => filled !== undefined)
    .map(({ object, filled }) => withReasons(new Document(filled).toString({ lineWidth: 0 }), object));
  return `${heading}---\n${documents.join("---\n")}`;
}

/** Writes each reason behind the line of its value. */
function withReasons(yaml: string, object: Templated): string {
  const reasons = new Map(reasonsIn(object).map(({ value, reason }) => [value, reason]));
  return yaml.replaceAll(/^( *- )([A-Z_]+)$/gm, (line, _indent: string, value: string) => {
    const reason = reasons.get(value);
    return reason === undefined ? line : `${line} # ${reason}`;
  });
}

export function reasonsIn(part: Templated): Because[] {
  if (part instanceof Because) return [part];
  if (part instanceof When) return reasonsIn(part.item);
  if (typeof part !== "object") return [];
  return Object.values(part as object).flatMap((value: Templated) => reasonsIn(value));
}
