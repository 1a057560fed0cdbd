/** Lints and reading problems together, each with the line of the file that it is about. */
import type { Finding } from "../../policy/lint.ts";
import type { LintCode } from "../../policy/lint-codes.ts";
import { type Cluster, objectKey, type ReadingProblem } from "./cluster.ts";

export const severities = ["note", "warning", "error"] as const;
export type Severity = (typeof severities)[number];

export interface LocatedFinding {
  readonly file: string;
  readonly line: number;
  readonly code: LintCode;
  readonly severity: Severity;
  /** `Kind namespace/name`; empty when not even that could be read. */
  readonly object: string;
  readonly field: string;
  readonly message: string;
}

/** By file, line and code; only about files that are asked for. */
export function locateFindings(
  { objects, problems }: Cluster,
  findings: readonly Finding[],
  concerns: (file: string) => boolean,
): LocatedFinding[] {
  const located = [
    ...problems.map(fromProblem),
    ...findings.flatMap(({ kind, object, code, severity, field, message }): LocatedFinding[] => {
      const [namespace = "", name = ""] = object.split("/");
      const key = objectKey(kind, namespace, name);
      const placed = objects.get(key);
      if (placed === undefined) return [];
      const said = field === "" ? splitField(message) : { field, message };
      return [{ file: placed.file, line: placed.lineOf(said.field), code, severity, object: key, ...said }];
    }),
  ].filter(({ file }) => concerns(file));
  return located.sort(
    (one, other) =>
      compare(one.file, other.file) ||
      one.line - other.line ||
      compare(one.code, other.code) ||
      compare(one.field, other.field),
  );
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

function fromProblem({ file, line, object, field, message, rejected }: ReadingProblem): LocatedFinding {
  const ports = object.startsWith("PeerAuthentication ") && field === "spec.portLevelMtls" && /selector/.test(message);
  const code = ports ? "WP110" : "WP117";
  return { file, line, code, severity: rejected ? "error" : "warning", object, field, message };
}

/** Problems of a policy are texts that begin with the field. */
function splitField(text: string): { field: string; message: string } {
  const [, field, message] = /^((?:spec|metadata)(?:\.[^\s.:[]+|\[[^\]]*\])*): (.*)$/s.exec(text) ?? [];
  return field === undefined || message === undefined ? { field: "", message: text } : { field, message };
}
