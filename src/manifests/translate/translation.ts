/**
 * What became of one Kubernetes object. The translators of this folder are pure: they check an object of unknown shape and turn it
 * into model values. The folder of manifests and the Kubernetes watch feed the same ones.
 */
import type { z } from "zod";

/** What is wrong with an object, in which field, and what to do about it. */
export interface FieldProblem {
  /** `spec.rules[0].from`; empty for the object as a whole. */
  readonly field: string;
  readonly message: string;
}

export type Translation<T> =
  /** Usable; problems are worth telling but changed nothing, or are part of the value. */
  | { readonly kind: "ok"; readonly value: T; readonly problems: readonly FieldProblem[] }
  /** Not usable: the object's last good version stays in force. `otherwise` is the safe reading where there was none. */
  | { readonly kind: "rejected"; readonly otherwise?: T; readonly problems: readonly FieldProblem[] }
  /** Well-formed, and nothing to do with the mesh. */
  | { readonly kind: "ignored"; readonly problems: readonly FieldProblem[] };

export function ok<T>(value: T, problems: readonly FieldProblem[] = []): Translation<T> {
  return { kind: "ok", value, problems };
}

export function rejected<T>(problems: readonly FieldProblem[], otherwise?: T): Translation<T> {
  return otherwise === undefined ? { kind: "rejected", problems } : { kind: "rejected", problems, otherwise };
}

export function ignored(problems: readonly FieldProblem[] = []): Translation<never> {
  return { kind: "ignored", problems };
}

/** `spec.ports[0].port` of a zod path. */
export function fieldPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return text === "" ? String(part) : `${text}.${String(part)}`;
  }, "");
}

export function problemsOf(error: z.ZodError): FieldProblem[] {
  return error.issues.flatMap((issue): FieldProblem[] => {
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({ field: fieldPath([...issue.path, key]), message: "unknown field" }));
    }
    return [{ field: fieldPath(issue.path), message: issue.message }];
  });
}
