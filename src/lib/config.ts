/**
 * Reads the configuration of one process: its flags first, then `WARREN_*` variables, then a YAML file, each filling what the
 * earlier left open. Everything wrong in all three is collected and thrown as one error, before the process has bound or changed
 * anything; the command line turns that error into exit code 2.
 */
import { readFile } from "node:fs/promises";
import type { z } from "zod";
import { type Knob, type Knobs, knobsOf } from "./config-schema.ts";
import { MeshError, messageOf } from "./errors.ts";
import { nearest } from "./nearest.ts";

/** One thing wrong, where it was written, and what to write instead. */
export interface ConfigProblem {
  readonly key: string;
  /** `--log-level`, `WARREN_LOG_LEVEL`, `warren.yaml:12`, or empty when the key is nowhere. */
  readonly from: string;
  readonly text: string;
}

export class ConfigError extends MeshError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const count = problems.length === 1 ? "one problem" : `${problems.length} problems`;
    const lines = problems.map(({ key, from, text }) => `  ${key}${from === "" ? "" : ` (${from})`}: ${text}`);
    super(
      "MESH_CONFIG_INVALID",
      `the configuration has ${count}, nothing was started:\n${lines.join("\n")}\nsee --help`,
    );
    this.problems = problems;
  }
}

export interface ConfigInput {
  /** Arguments after the verb. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Variables that start like ours and are read elsewhere. */
  readonly otherVariables?: readonly string[];
  /** Reads the file that `--config` or `WARREN_CONFIG` names; replaced in tests. */
  readonly read?: (path: string) => Promise<string>;
}

export interface LoadedConfig<T> {
  readonly value: T;
  /** Where each key that was set comes from. */
  readonly origins: ReadonlyMap<string, string>;
  /** The file that was read, if any. */
  readonly file: string | undefined;
}

const fileFlag = "--config";
const fileVariable = "WARREN_CONFIG";

/** Throws ConfigError with every problem found. */
export async function loadConfig<S extends z.ZodObject>(
  schema: S,
  input: ConfigInput,
): Promise<LoadedConfig<z.output<S>>> {
  const knobs = knobsOf(schema);
  const draft = new Draft();
  const flags = readFlags(input.args, knobs, draft.problems);
  const file = flags.get(fileFlag)?.[0] ?? input.environment[fileVariable];
  if (file !== undefined) await readYaml(file, input.read ?? ((name) => readFile(name, "utf8")), draft);
  readVariables(input, knobs, draft);
  for (const knob of knobs.list) {
    const texts = flags.get(knob.flag);
    if (texts !== undefined) draft.set(knob, texts.join(","), knob.flag);
  }
  for (const group of knobs.groups.keys()) draft.open(group.split("."));
  const parsed = schema.safeParse(draft.tree);
  const issues = parsed.success ? [] : parsed.error.issues.flatMap((issue) => explain(issue, draft, knobs));
  if (!parsed.success || draft.problems.length > 0) throw new ConfigError([...draft.problems, ...issues]);
  return { value: parsed.data, origins: draft.origins, file };
}

type Tree = Record<string, unknown>;

/** The merged input so far, and where each part of it was written. */
class Draft {
  tree: Tree = {};
  readonly origins = new Map<string, string>();
  readonly problems: ConfigProblem[] = [];

  set(knob: Knob, text: string, from: string): void {
    const group = this.open(knob.path.slice(0, -1));
    if (group === undefined) return;
    group[knob.path.at(-1) ?? ""] = fromText(knob, text);
    this.origins.set(knob.key, from);
  }

  /**
   * The group at a path, made when it is not there, so that what is missing is its keys and not the group. Undefined when the file
   * holds a value where the group belongs: that is reported as such, and overwriting it would hide it.
   */
  open(path: readonly string[]): Tree | undefined {
    let node = this.tree;
    for (const name of path) {
      node[name] ??= {};
      if (!isTree(node[name])) return undefined;
      node = node[name];
    }
    return node;
  }

  /** Where a key, or the nearest thing around it, was written. */
  originOf(path: readonly string[]): string {
    for (let length = path.length; length > 0; length--) {
      const from = this.origins.get(path.slice(0, length).join("."));
      if (from !== undefined) return from;
    }
    return "";
  }
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Text that does not fit stays text, so that the schema says what is wrong with it. */
function fromText(knob: Knob, text: string): unknown {
  switch (knob.shape) {
    case "number":
      return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
    case "boolean":
      return text === "true" ? true : text === "false" ? false : text;
    case "list":
      return text === "" ? [] : text.split(",").map((item) => item.trim());
    case "text":
      return text;
  }
}

/** `--key value` and `--key=value`; a switch may stand alone, a list may be repeated. */
function readFlags(args: readonly string[], knobs: Knobs, problems: ConfigProblem[]): Map<string, string[]> {
  const byFlag = new Map<string, Knob | undefined>(knobs.list.map((knob) => [knob.flag, knob]));
  byFlag.set(fileFlag, undefined);
  const found = new Map<string, string[]>();
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] ?? "";
    const [, flag, attached] = /^(--[^=]+)(?:=(.*))?$/s.exec(argument) ?? [];
    if (flag === undefined) {
      problems.push({ key: argument, from: "argument", text: "is not a flag; flags look like --key=value" });
      continue;
    }
    if (!byFlag.has(flag)) {
      problems.push({ key: flag, from: "argument", text: `unknown flag${suggestion(flag, byFlag.keys())}` });
      // Its value, if it has one, would only be a second problem with the same cause.
      if (attached === undefined && args[index + 1]?.startsWith("--") === false) index++;
      continue;
    }
    const knob = byFlag.get(flag);
    const next = args[index + 1];
    let text = attached;
    if (text === undefined && knob?.shape === "boolean") text = "true";
    if (text === undefined && next !== undefined && !next.startsWith("--")) {
      text = next;
      index++;
    }
    const before = found.get(flag);
    if (text === undefined) {
      problems.push({
        key: knob?.key ?? "config",
        from: flag,
        text: `needs a value: ${flag}=<${knob?.placeholder ?? "path"}>`,
      });
    } else if (before !== undefined && knob?.shape !== "list") {
      problems.push({ key: knob?.key ?? "config", from: flag, text: "is given twice; keep one" });
    } else {
      found.set(flag, [...(before ?? []), text]);
    }
  }
  return found;
}

/** What a kubelet adds to every container for a Service whose name starts with "warren"; never meant for us. */
const serviceLink = /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;

function readVariables({ environment, otherVariables = [] }: ConfigInput, knobs: Knobs, draft: Draft): void {
  const byVariable = new Map(knobs.list.map((knob) => [knob.variable, knob]));
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith("WARREN_") || name === fileVariable || text === undefined) continue;
    const knob = byVariable.get(name);
    if (knob !== undefined) {
      draft.set(knob, text, name);
    } else if (!serviceLink.test(name) && !otherVariables.includes(name)) {
      const text = `unknown variable${suggestion(name, byVariable.keys())}`;
      draft.problems.push({ key: name, from: "environment", text });
    }
  }
}

async function readYaml(file: string, read: (path: string) => Promise<string>, draft: Draft): Promise<void> {
  const problem = (line: number | undefined, text: string) => {
    draft.problems.push({ key: "config", from: line === undefined ? file : `${file}:${line}`, text });
  };
  let source: string;
  try {
    source = await read(file);
  } catch (error) {
    return problem(undefined, `cannot be read: ${messageOf(error)}`);
  }
  // Loaded only when there is a file: most processes are configured by flags alone and need not carry a YAML parser.
  const { LineCounter, isMap, isScalar, parseDocument } = await import("yaml");
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  for (const error of document.errors) problem(lines.linePos(error.pos[0]).line, `is not YAML: ${error.message}`);
  if (document.errors.length > 0 || document.contents === null) return;
  if (!isMap(document.contents)) return problem(1, "must be a mapping of keys to values");
  const visit = (node: unknown, path: readonly string[]): unknown => {
    if (!isMap(node)) return toPlain(node);
    const tree: Tree = Object.create(null) as Tree;
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : String(key);
      const here = [...path, name];
      const offset = isScalar(key) ? key.range?.[0] : undefined;
      draft.origins.set(here.join("."), offset === undefined ? file : `${file}:${lines.linePos(offset).line}`);
      const plain = visit(value, here);
      // A key without a value is a key left open.
      if (plain !== null && plain !== undefined) tree[name] = plain;
    }
    return { ...tree };
  };
  const toPlain = (node: unknown): unknown =>
    isScalar(node) ? node.value : (document.createNode(node).toJSON() as unknown);
  draft.tree = visit(document.contents, []) as Tree;
}

function explain(issue: z.core.$ZodIssue, draft: Draft, knobs: Knobs): ConfigProblem[] {
  const path = issue.path.map(String);
  const key = path.join(".");
  const from = draft.originOf(path);
  if (issue.code === "unrecognized_keys") {
    const prefix = key === "" ? "" : `${key}.`;
    const known = [...knobs.byPath.keys(), ...knobs.groups.keys()];
    return issue.keys.map((name) => ({
      key: prefix + name,
      from: draft.originOf([...path, name]),
      text: `unknown key${suggestion(prefix + name, known)}`,
    }));
  }
  const knob = knobs.byPath.get(key) ?? knobs.byPath.get(path.slice(0, -1).join("."));
  if (issue.code === "invalid_type" && !draft.origins.has(key) && knob?.required === true) {
    return [{ key, from, text: `is required; set ${knob.flag}, ${knob.variable}, or ${key} in the file` }];
  }
  return [{ key, from, text: fixed(issue, knob) }];
}

/** zod's own messages name the fault; this adds what to write. */
function fixed(issue: z.core.$ZodIssue, knob: Knob | undefined): string {
  if (issue.code === "invalid_value") return `is not one of the values known here; write ${issue.values.join(" or ")}`;
  if (issue.code === "too_small") return `is too small; the least is ${issue.minimum}`;
  if (issue.code === "too_big") return `is too big; the most is ${issue.maximum}`;
  if (issue.code === "invalid_type" && knob === undefined) return "must be a group of keys, not a value";
  if (issue.code === "invalid_type" && !issue.message.includes(";")) {
    return `is not a ${issue.expected}; write <${knob?.placeholder ?? "value"}>`;
  }
  return issue.message;
}

function suggestion(word: string, known: Iterable<string>): string {
  const guess = nearest(word, known);
  return guess === undefined ? "; see --help for the ones there are" : `; did you mean ${guess}?`;
}
