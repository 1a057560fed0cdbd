/**
 * The cluster that a question is about, read once: from manifests (a folder, the rendered folder of a running lab, files and standard
 * input), or as a Kubernetes API lists it. It is put together by the agent's own translators and index, so that an answer here is the answer there. What cannot be
 * read has its safe reading, as it has for an agent that never saw an earlier version.
 */
import { ClusterState, type PieceKind } from "../../manifests/cluster-state.ts";
import { frameSchema, type KubernetesObject } from "../../manifests/translate/metadata.ts";
import { pieceKind, translate } from "../../manifests/translate/translate.ts";
import { problemsOf } from "../../manifests/translate/translation.ts";
import type { MeshIndex } from "../../mesh/mesh-index.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import { type PlacedValue, readPlacedValues } from "./yaml-places.ts";

export interface ManifestText {
  /** As the person named it. */
  readonly file: string;
  readonly text: string;
}

/** An object that stands in no file. */
export interface LiveObject {
  readonly live: Readonly<Record<string, unknown>>;
}

/** Something that could not be read, or not wholly. */
export interface ReadingProblem {
  /** Empty, as the line is 0, of an object that stands in no file. */
  readonly file: string;
  readonly line: number;
  /** `Kind namespace/name`; empty when not even that is known. */
  readonly object: string;
  readonly field: string;
  readonly message: string;
  /** False: the object counts, except for this. */
  readonly rejected: boolean;
}

export interface PlacedObject {
  readonly kind: PieceKind;
  readonly namespace: string;
  readonly object: KubernetesObject;
  readonly file: string;
  lineOf(field: string): number;
}

export interface Cluster {
  readonly view: MeshIndex;
  /** By `Kind namespace/name`; a Namespace by `Namespace name`. */
  readonly objects: ReadonlyMap<string, PlacedObject>;
  readonly problems: readonly ReadingProblem[];
}

export interface ClusterOptions {
  readonly settings: MeshSettings;
  /** Of objects that name none. */
  readonly defaultNamespace: string;
}

/** Of an object that stands twice in `base` the first counts; what stands in `overlay` replaces it. */
export function readCluster(
  base: readonly (ManifestText | LiveObject)[],
  overlay: readonly ManifestText[],
  options: ClusterOptions,
): Cluster {
  const problems: ReadingProblem[] = [];
  const objects = readAll(base, options.defaultNamespace, problems);
  for (const [key, object] of readAll(overlay, options.defaultNamespace, problems)) objects.set(key, object);
  const state = new ClusterState(options.settings);
  for (const [key, placed] of objects) {
    const { kind, namespace, object, file } = placed;
    const translation = translate(kind, object, namespace);
    const value = translation.kind === "ok" ? translation.value : otherwiseOf(translation);
    if (value !== undefined) state.set(namespace, object.metadata.name, value);
    // A policy that is in force carries its problems itself, and the lints tell them.
    if (kind === "AuthorizationPolicy" && value !== undefined) continue;
    const rejected = translation.kind === "rejected";
    for (const { field, message } of translation.problems) {
      problems.push({ file, line: placed.lineOf(field), object: key, field, message, rejected });
    }
  }
  state.flush();
  return { view: state.index, objects, problems };
}

function otherwiseOf(translation: Exclude<ReturnType<typeof translate>, { kind: "ok" }>) {
  return translation.kind === "rejected" ? translation.otherwise : undefined;
}

function readAll(
  sources: readonly (ManifestText | LiveObject)[],
  defaultNamespace: string,
  problems: ReadingProblem[],
): Map<string, PlacedObject> {
  const objects = new Map<string, PlacedObject>();
  for (const source of sources) {
    const { file, values } = valuesOf(source, problems);
    for (const placed of values) {
      const { value } = placed;
      const lineOf = (field: string): number => placed.lineOf(field);
      const frame = frameSchema.safeParse(value);
      if (!frame.success) {
        for (const { field, message } of problemsOf(frame.error)) {
          problems.push({ file, line: lineOf(field), object: "", field, message, rejected: true });
        }
        continue;
      }
      const { apiVersion, kind: named, metadata } = frame.data;
      const kind = pieceKind(apiVersion, named);
      if (kind === undefined) continue;
      const namespace = kind === "Namespace" ? "" : (metadata.namespace ?? defaultNamespace);
      const key = objectKey(kind, namespace, metadata.name);
      const object = { apiVersion, kind: named, metadata, raw: value as KubernetesObject["raw"] };
      const earlier = objects.get(key);
      if (earlier === undefined) objects.set(key, { kind, namespace, object, file, lineOf });
      else {
        const message = `stands in ${earlier.file}:${earlier.lineOf("")} too, which counts`;
        problems.push({ file, line: lineOf(""), object: key, field: "", message, rejected: false });
      }
    }
  }
  return objects;
}

function valuesOf(
  source: ManifestText | LiveObject,
  problems: ReadingProblem[],
): { readonly file: string; readonly values: readonly PlacedValue[] } {
  if ("live" in source) return { file: "", values: [{ value: source.live, lineOf: () => 0 }] };
  const { file, text } = source;
  const { values, unreadable } = readPlacedValues(text);
  for (const { line, message } of unreadable) {
    problems.push({ file, line, object: "", field: "", message, rejected: true });
  }
  return { file, values };
}

export function objectKey(kind: PieceKind, namespace: string, name: string): string {
  return kind === "Namespace" ? `Namespace ${name}` : `${kind} ${namespace}/${name}`;
}
