/** Text of a manifest file → framed objects. YAML with any number of documents, JSON (which is YAML), and `List`s of objects. */
import { LineCounter, parseAllDocuments } from "yaml";
import { frameSchema, type KubernetesObject } from "./translate/metadata.ts";
import { type FieldProblem, problemsOf } from "./translate/translation.ts";

export interface ReadProblem extends FieldProblem {
  /** As much of `Kind namespace/name` as could be read. */
  readonly object: string;
}

export interface ReadObjects {
  readonly objects: readonly KubernetesObject[];
  /** Documents and objects that could not be read: which ones they are is not known. */
  readonly problems: readonly ReadProblem[];
}

export function readObjects(text: string): ReadObjects {
  const objects: KubernetesObject[] = [];
  const problems: ReadProblem[] = [];
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  for (const document of "empty" in documents ? [] : documents) {
    const [error] = document.errors;
    if (error !== undefined) {
      const { line, col } = lines.linePos(error.pos[0]);
      problems.push({ object: "", field: `line ${line}, column ${col}`, message: error.message });
      continue;
    }
    let value: unknown;
    try {
      value = document.toJS();
    } catch (thrown) {
      // An alias that points nowhere, or too many of them.
      const { line } = lines.linePos(document.range[0]);
      problems.push({
        object: "",
        field: `line ${line}`,
        message: thrown instanceof Error ? thrown.message : "unreadable",
      });
      continue;
    }
    readValue(value, objects, problems);
  }
  return { objects, problems };
}

function readValue(value: unknown, objects: KubernetesObject[], problems: ReadProblem[]): void {
  if (value === null || value === undefined) return;
  if (typeof value === "object" && "items" in value && Array.isArray(value.items) && isList(value)) {
    for (const item of value.items) readValue(item, objects, problems);
    return;
  }
  const parsed = frameSchema.safeParse(value);
  if (parsed.success) {
    const { apiVersion, kind, metadata } = parsed.data;
    objects.push({ apiVersion, kind, metadata, raw: value as KubernetesObject["raw"] });
    return;
  }
  for (const problem of problemsOf(parsed.error)) problems.push({ ...problem, object: describe(value) });
}

function isList(value: object): boolean {
  return "kind" in value && typeof value.kind === "string" && value.kind.endsWith("List");
}

function describe(value: unknown): string {
  const text = (of: unknown, key: string): string => {
    const found = typeof of === "object" && of !== null ? (of as Record<string, unknown>)[key] : undefined;
    return typeof found === "string" ? found : "";
  };
  const metadata = typeof value === "object" && value !== null && "metadata" in value ? value.metadata : undefined;
  const name = [text(metadata, "namespace"), text(metadata, "name")].filter((part) => part !== "").join("/");
  return `${text(value, "kind")} ${name}`.trim();
}
