/** Objects as JSON holds them, and the small algebra that the API does on them: selectors, merge patches. */

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  generation?: number;
  resourceVersion?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: { kind: string; name: string; controller?: boolean }[];
  generateName?: string;
}

export interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

/** What a test hands in: at least a frame. */
export interface DraftObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Partial<ObjectMeta>;
  readonly [field: string]: unknown;
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** RFC 7396. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const merged: Record<string, unknown> = isTree(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

export function isTree(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `a=b,c!=d,e,!f`, as `labelSelector` has it; the set-based forms are not needed by anybody here and refused. */
export function labelSelector(text: string): (object: ApiObject) => boolean {
  const tests = text
    .split(",")
    .filter((part) => part !== "")
    .map((part): ((labels: Record<string, string>) => boolean) => {
      const [, key = "", operator = "", value = ""] = /^([^=!]+)(==|=|!=)(.*)$/.exec(part) ?? [];
      if (operator !== "") return (labels) => (labels[key] === value) === (operator !== "!=");
      if (/[()\s]/.test(part)) throw new Error(`the double knows no set-based selector: ${part}`);
      return part.startsWith("!") ? (labels) => !Object.hasOwn(labels, part.slice(1)) : (labels) => part in labels;
    });
  return ({ metadata }) => tests.every((test) => test(metadata.labels ?? {}));
}

/** `metadata.name=x,status.phase!=Failed`. */
export function fieldSelector(text: string): (object: ApiObject) => boolean {
  const tests = text
    .split(",")
    .filter((part) => part !== "")
    .map((part) => {
      const [, path = "", operator = "=", value = ""] = /^([^=!]+)(==|=|!=)(.*)$/.exec(part) ?? [];
      return (object: ApiObject) => (fieldOf(object, path) === value) === (operator !== "!=");
    });
  return (object) => tests.every((test) => test(object));
}

function fieldOf(object: unknown, path: string): string {
  const value = path.split(".").reduce<unknown>((at, key) => (isTree(at) ? at[key] : undefined), object);
  return typeof value === "string" ? value : "";
}
