/** `warren lab apply`, `delete` and `label`. */
import { readFileSync } from "node:fs";
import { MeshError } from "../../lib/errors.ts";
import { type ManifestText, parseManifests, readManifestPath } from "../cluster/manifests.ts";
import { isNamespaced } from "../cluster/objects.ts";
import { currentNamespace } from "../options.ts";
import { clientOf } from "./choose.ts";

export async function applyFiles(
  lab: string | undefined,
  files: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  const texts = readAll(files);
  // Checked here over all files, so that nothing is taken when any of them is wrong.
  const objects = parseManifests(texts, currentNamespace);
  const client = clientOf(lab);
  for (const { name, text } of texts) await client.apply(name, text);
  for (const { kind, metadata } of objects) say(`${kind.toLowerCase()}/${metadata.name} applied`);
}

/** In reverse, so that what refers to others goes before them. */
export async function deleteFiles(
  lab: string | undefined,
  files: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  const client = clientOf(lab);
  for (const { kind, metadata } of parseManifests(readAll(files), currentNamespace).toReversed()) {
    await client.delete(kind, metadata.namespace, metadata.name);
    say(`${kind.toLowerCase()}/${metadata.name} deleted`);
  }
}

export interface LabelRequest {
  readonly name?: string;
  readonly kind: string;
  readonly object: string;
  readonly namespace?: string;
  readonly labels: readonly string[];
}

export async function labelOne({ name, kind, object, namespace, labels }: LabelRequest): Promise<void> {
  const home = isNamespaced(kind) ? (namespace ?? currentNamespace) : undefined;
  await clientOf(name).label(kind, home, object, parseLabels(labels));
}

/** `key=value` sets, `key-` removes. */
export function parseLabels(labels: readonly string[]): Record<string, string | null> {
  const changes: Record<string, string | null> = {};
  for (const text of labels) {
    const [, set, value, remove] = /^([^=]+)=(.*)$|^([^=]+)-$/.exec(text) ?? [];
    if (set !== undefined && value !== undefined) changes[set] = value;
    else if (remove !== undefined) changes[remove] = null;
    else throw new MeshError("MESH_CONFIG_INVALID", `${text} is neither key=value nor key-`);
  }
  return changes;
}

function readAll(files: readonly string[]): ManifestText[] {
  return files.flatMap((file) =>
    file === "-" ? [{ name: "standard input", text: readFileSync(0, "utf8") }] : readManifestPath(file),
  );
}
