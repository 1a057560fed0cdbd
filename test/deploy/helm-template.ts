/** The little of Helm's template language that the chart uses: conditions, values, `toJson`, `join`, the release's namespace, and a literal. */

import { isOn, valueAt } from "../../deploy/source/plain.ts";
import type { Values } from "../../deploy/source/values.ts";

/** Throws for anything else, so that the chart cannot come to use what this does not understand. */
export function helmTemplate(template: string, values: Values, namespace: string): string {
  const open: boolean[] = [];
  const lines = template.split("\n").filter((line) => {
    const condition = /^\{\{- if \.Values\.([\w.]+) \}\}$/.exec(line)?.[1];
    if (condition !== undefined) open.push(isOn(values, condition));
    else if (line === "{{- end }}") open.pop();
    else return open.every(Boolean);
    return false;
  });
  if (open.length > 0) throw new Error("a condition of the chart has no end");
  return lines
    .join("\n")
    .replaceAll(/\{\{(.*?)\}\}/g, (_, inner: string) => expression(inner.trim(), values, namespace));
}

function expression(text: string, values: Values, namespace: string): string {
  if (text === ".Release.Namespace") return namespace;
  if (text === '"{{"') return "{{";
  const json = /^toJson \.Values\.([\w.]+)$/.exec(text)?.[1];
  if (json !== undefined) return JSON.stringify(valueAt(values, json));
  const list = /^join `,` \.Values\.([\w.]+)$/.exec(text)?.[1];
  if (list !== undefined) return String(valueAt(values, list));
  const plain = /^\.Values\.([\w.]+)$/.exec(text)?.[1];
  if (plain !== undefined) return String(valueAt(values, plain));
  throw new Error(`the chart uses {{ ${text} }}`);
}
