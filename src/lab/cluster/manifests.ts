/** Reads manifests as people write them. Every document is checked before one is taken, and all that is wrong is said at once. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { parseAllDocuments } from "yaml";
import type { z } from "zod";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { type ClusterObject, isNamespaced, otherSchema, schemas } from "./objects.ts";

/** Text with a name for messages. */
export interface ManifestText {
  readonly name: string;
  readonly text: string;
}

/** The manifests at a path: one file, or every .yaml, .yml and .json file in a folder, in order of their names. */
export function readManifestPath(path: string): ManifestText[] {
  try {
    if (!statSync(path).isDirectory()) return [{ name: basename(path), text: readFileSync(path, "utf8") }];
    const names = readdirSync(path)
      .filter((name) => /\.(ya?ml|json)$/.test(name))
      .sort();
    return names.map((name) => ({ name, text: readFileSync(join(path, name), "utf8") }));
  } catch (cause) {
    throw new MeshError(
      "MESH_LAB_MANIFEST",
      `cannot read manifests at ${path}: ${messageOf(cause)}; check the path after -f`,
      { cause },
    );
  }
}

/** Objects of manifests, with their namespace filled in. Throws one error that names file, object and field of each problem. */
export function parseManifests(texts: readonly ManifestText[], defaultNamespace: string): ClusterObject[] {
  const problems: string[] = [];
  const objects: ClusterObject[] = [];
  for (const { name, text } of texts) {
    for (const document of parseAllDocuments(text)) {
      if (!("errors" in document)) continue;
      const [error] = document.errors;
      if (error !== undefined) {
        problems.push(`${name}: ${error.message.split("\n")[0]}`);
        continue;
      }
      for (const value of itemsOf(document.toJS() as unknown))
        readObject(name, value, defaultNamespace, objects, problems);
    }
  }
  if (problems.length > 0)
    throw new MeshError(
      "MESH_LAB_MANIFEST",
      `${problems.length === 1 ? "a manifest is" : "manifests are"} not usable, nothing was changed:\n  ${problems.join("\n  ")}`,
    );
  return objects;
}

/** What stands in one document: an object, a List of them, or nothing but comments. */
function itemsOf(value: unknown): unknown[] {
  if (value === null || value === undefined) return [];
  const list = value as { kind?: unknown; items?: unknown };
  return list.kind === "List" && Array.isArray(list.items) ? list.items : [value];
}

function readObject(
  file: string,
  value: unknown,
  defaultNamespace: string,
  objects: ClusterObject[],
  problems: string[],
): void {
  const head = otherSchema.safeParse(value);
  if (!head.success) {
    problems.push(...describe(file, value, head.error));
    return;
  }
  const known = schemas.get(head.data.kind);
  if (known !== undefined && known.apiVersion !== head.data.apiVersion) {
    problems.push(
      `${file}: ${nameOf(value)}: apiVersion: is ${head.data.apiVersion}; the lab knows ${known.apiVersion} of this kind`,
    );
    return;
  }
  const parsed = (known?.schema ?? otherSchema).safeParse(value);
  if (!parsed.success) {
    problems.push(...describe(file, value, parsed.error));
    return;
  }
  const { namespace, ...rest } = parsed.data.metadata;
  const home = isNamespaced(parsed.data.kind) ? { namespace: namespace ?? defaultNamespace } : {};
  objects.push({ ...parsed.data, metadata: { ...rest, ...home } });
}

function describe(file: string, value: unknown, error: z.ZodError): string[] {
  return error.issues.map((issue) => `${file}: ${nameOf(value)}: ${issue.path.join(".") || "it"}: ${issue.message}`);
}

function nameOf(value: unknown): string {
  const { kind, metadata } = (value ?? {}) as { kind?: unknown; metadata?: { name?: unknown } | null };
  return `${typeof kind === "string" ? kind : "object"} ${typeof metadata?.name === "string" ? metadata.name : "without a name"}`;
}
