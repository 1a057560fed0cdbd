/**
 * The vocabulary of configuration schemas: value types as an operator writes them, and the flat list of knobs that a schema of
 * nested strict objects describes. Everything that documents a process (its `--help`, its page under docs/) is made from that list.
 */
import { z } from "zod";
import { formatByteSize, parseByteSize } from "./byte-size.ts";
import { formatDuration, longestTimerMs, parseDuration } from "./duration.ts";
import { parseHostPort } from "./host-port.ts";

/** Where to connect to, or to listen; an empty host means all addresses of both families. */
export interface ConfigAddress {
  readonly host: string;
  readonly port: number;
}

/** A time with a unit, such as `10s`; milliseconds in the program. */
export function duration(bounds: { min?: string; max?: string } = {}) {
  const min = parseDuration(bounds.min ?? "0") ?? 0;
  const max = parseDuration(bounds.max ?? "") ?? longestTimerMs;
  return leaf("duration", "write a number with a unit, like 500ms, 10s or 1m30s", (text) => {
    const value = parseDuration(text);
    if (value === undefined) return undefined;
    if (value < min || value > max)
      return { wrong: `is not between ${formatDuration(min)} and ${formatDuration(max)}` };
    return { value };
  });
}

/** An amount of memory with a unit, such as `64KiB`; bytes in the program. */
export function byteSize(bounds: { min?: string; max?: string } = {}) {
  const min = parseByteSize(bounds.min ?? "0") ?? 0;
  const max = parseByteSize(bounds.max ?? "") ?? Number.MAX_SAFE_INTEGER;
  return leaf("size", "write a whole number with a unit, like 64KiB or 1MiB", (text) => {
    const value = parseByteSize(text);
    if (value === undefined) return undefined;
    if (value < min || value > max)
      return { wrong: `is not between ${formatByteSize(min)} and ${formatByteSize(max)}` };
    return { value };
  });
}

/** A peer: `host:port` or `[v6]:port`. */
export function address() {
  return leaf<ConfigAddress>("host:port", "write it like 10.0.0.1:15012 or [::1]:15012", (text) => {
    const value = parseHostPort(text);
    return value && { value };
  });
}

/** Where the process listens: like `address`, or `:port` for all addresses; port 0 lets the kernel choose. */
export function listenAddress() {
  return leaf<ConfigAddress>(
    "host:port",
    "write it like 127.0.0.1:15000, [::1]:15000, or :15000 for all addresses",
    (text) => {
      const value = /^:\d/.test(text) ? parseHostPort(`all${text}`) : parseHostPort(text);
      return value && { value: text.startsWith(":") ? { ...value, host: "" } : value };
    },
  );
}

/** The path of a file or folder, absolute or relative to where the process was started. */
export function path() {
  return z.string().min(1).meta({ kind: "path" });
}

function leaf<T = number>(
  kind: string,
  fix: string,
  read: (text: string) => { value: T } | { wrong: string } | undefined,
) {
  return z
    .string({ error: `is not a ${kind}; ${fix}` })
    .meta({ kind })
    .transform((text, context): T => {
      const result = read(text);
      if (result !== undefined && "value" in result) return result.value;
      const wrong = result === undefined ? `is not a ${kind}` : result.wrong;
      context.addIssue({ code: "custom", message: `${JSON.stringify(text)} ${wrong}; ${fix}` });
      return z.NEVER;
    });
}

/** How the text of a flag or variable becomes the value that the schema expects. */
export type KnobShape = "text" | "number" | "boolean" | "list";

/** One setting of a process. */
export interface Knob {
  /** Where it sits in the file, e.g. `control.address`. */
  readonly key: string;
  readonly path: readonly string[];
  readonly flag: string;
  readonly variable: string;
  readonly shape: KnobShape;
  /** What to write, e.g. `duration` or `text|json`. */
  readonly placeholder: string;
  /** As it would be written in the file; undefined when there is none. */
  readonly defaultText: string | undefined;
  readonly required: boolean;
  readonly description: string;
}

/** A schema's knobs in order, with the description of each group of them. */
export interface Knobs {
  readonly list: readonly Knob[];
  readonly byPath: ReadonlyMap<string, Knob>;
  readonly groups: ReadonlyMap<string, string>;
}

/** Flattens a schema made of strict objects, the leaf types above and zod's string, number, boolean, enum and array. */
export function knobsOf(schema: z.ZodObject): Knobs {
  const list: Knob[] = [];
  const groups = new Map<string, string>();
  const visit = (object: z.ZodObject, path: readonly string[]) => {
    for (const [name, field] of Object.entries(object.shape)) {
      const here = [...path, name];
      const facts = unwrap(field as z.ZodType);
      if (facts.core instanceof z.ZodObject) {
        groups.set(here.join("."), facts.description);
        visit(facts.core, here);
      } else {
        list.push(knobOf(here, facts));
      }
    }
  };
  visit(schema, []);
  return { list, groups, byPath: new Map(list.map((knob) => [knob.key, knob])) };
}

function knobOf(path: readonly string[], facts: Facts): Knob {
  const words = path.map((name) => name.replaceAll(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase());
  const { shape, placeholder } = shapeOf(facts);
  return {
    key: path.join("."),
    path,
    flag: `--${words.join("-")}`,
    variable: `WARREN_${words.join("_").replaceAll("-", "_").toUpperCase()}`,
    shape,
    placeholder,
    defaultText: textOf(facts.defaultValue),
    required: !facts.optional && facts.defaultValue === undefined,
    description: facts.description,
  };
}

interface Facts {
  core: z.ZodType;
  description: string;
  kind: string | undefined;
  optional: boolean;
  defaultValue: unknown;
}

/** Peels optional, default and the input side of transforms off a field, keeping what each layer said. */
function unwrap(field: z.ZodType): Facts {
  const facts: Facts = { core: field, description: "", kind: undefined, optional: false, defaultValue: undefined };
  for (let layer = field; ; ) {
    const kind = (layer.meta() as { kind?: unknown } | undefined)?.kind;
    facts.description ||= layer.description ?? "";
    if (typeof kind === "string") facts.kind ??= kind;
    facts.core = layer;
    if (layer instanceof z.ZodPrefault || layer instanceof z.ZodDefault) {
      facts.defaultValue ??= layer.def.defaultValue;
      layer = layer.def.innerType as z.ZodType;
    } else if (layer instanceof z.ZodOptional) {
      facts.optional = true;
      layer = layer.def.innerType as z.ZodType;
    } else if (layer instanceof z.ZodPipe) {
      layer = layer.def.in as z.ZodType;
    } else {
      return facts;
    }
  }
}

function shapeOf({ core, kind }: Facts): { shape: KnobShape; placeholder: string } {
  if (core instanceof z.ZodBoolean) return { shape: "boolean", placeholder: "true|false" };
  if (core instanceof z.ZodNumber) return { shape: "number", placeholder: kind ?? "number" };
  if (core instanceof z.ZodArray) return { shape: "list", placeholder: kind ?? "a,b,…" };
  if (core instanceof z.ZodEnum) return { shape: "text", placeholder: core.options.join("|") };
  return { shape: "text", placeholder: kind ?? "text" };
}

/** As it would be written; undefined for none and for an empty list, which need no writing. */
function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.join(",");
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}
