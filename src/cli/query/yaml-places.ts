/** Where in a file a field of an object stands, for messages that an editor can jump to. */
import { isMap, isScalar, isSeq, LineCounter, type Node, parseAllDocuments } from "yaml";

export interface PlacedValue {
  readonly value: unknown;
  /** The line of a field as problems write it (`spec.rules[0].from`), or of the nearest thing around it. */
  lineOf(field: string): number;
}

export interface UnreadableDocument {
  readonly line: number;
  readonly message: string;
}

export interface PlacedValues {
  readonly values: readonly PlacedValue[];
  readonly unreadable: readonly UnreadableDocument[];
}

/** Every object of the text: documents, and the items of `List`s. */
export function readPlacedValues(text: string): PlacedValues {
  const values: PlacedValue[] = [];
  const unreadable: UnreadableDocument[] = [];
  const lines = new LineCounter();
  const lineAt = (offset: number): number => lines.linePos(offset).line;
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  for (const document of "empty" in documents ? [] : documents) {
    const [error] = document.errors;
    if (error !== undefined) {
      unreadable.push({ line: lineAt(error.pos[0]), message: error.message });
      continue;
    }
    const { contents } = document;
    if (contents === null) continue;
    try {
      collect(contents, document.toJS() as unknown, lineAt, values);
    } catch (thrown) {
      // An alias that points nowhere, or too many of them.
      const message = thrown instanceof Error ? thrown.message : "unreadable";
      unreadable.push({ line: lineAt(document.range[0]), message });
    }
  }
  return { values, unreadable };
}

function collect(node: Node, value: unknown, lineAt: (offset: number) => number, into: PlacedValue[]): void {
  if (value === null || value === undefined) return;
  const items = isList(value) ? childOf(node, "items")?.node : undefined;
  if (items !== undefined && isSeq(items)) {
    const list = (value as { items: unknown[] }).items;
    for (const [index, item] of items.items.entries()) collect(item as Node, list[index], lineAt, into);
    return;
  }
  into.push({ value, lineOf: (field) => lineAt(offsetOf(node, field)) });
}

function isList(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("items" in value) || !Array.isArray(value.items)) return false;
  return "kind" in value && typeof value.kind === "string" && value.kind.endsWith("List");
}

/** `spec.rules[0].labels[a.b/c]` → `spec`, `rules`, `0`, `labels`, `a.b/c`; what follows a blank is prose. */
export function fieldSteps(field: string): string[] {
  return [...field.matchAll(/\[([^\]]*)\]|([^.[\s]+)|\s.*$/g)].flatMap(([, bracketed, plain]) => {
    const step = bracketed ?? plain;
    return step === undefined ? [] : [step];
  });
}

function offsetOf(root: Node, field: string): number {
  let offset = root.range?.[0] ?? 0;
  let node: Node | undefined = root;
  for (const step of fieldSteps(field)) {
    const child: Child | undefined = node && childOf(node, step);
    if (child === undefined) break;
    offset = child.offset;
    node = child.node;
  }
  return offset;
}

interface Child {
  readonly offset: number;
  readonly node: Node | undefined;
}

/** A map's child stands where its key stands. */
function childOf(node: Node, step: string): Child | undefined {
  if (isMap<Node, Node | null>(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === step);
    return pair && { offset: pair.key.range?.[0] ?? 0, node: pair.value ?? undefined };
  }
  if (isSeq<Node>(node) && /^\d+$/.test(step)) {
    const item = node.items[Number(step)];
    return item && { offset: item.range?.[0] ?? 0, node: item };
  }
  return undefined;
}
