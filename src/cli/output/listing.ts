/**
 * Listings of the running mesh: rows from all nodes, as a table for people or documents for programs. Data goes to standard output,
 * advice to standard error; an answer that lacks a node says so and ends the program with 3.
 */
import type { Outcome } from "../query/asked.ts";
import { type Colours, coloursOf } from "../query/output.ts";
import type { ListFlags, ListFormat } from "./mesh-flags.ts";

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  /** Only with `-o wide`, or only without. */
  readonly wide?: true | "never";
  readonly style?: (row: Row, colours: Colours) => ((text: string) => string) | undefined;
}

/** What a verb lists. `Row` is plain JSON: it is what programs get, and grows but does not change under one schema. */
export interface Listing<Row extends object> {
  /** `warren.<verb>/v1` */
  readonly schema: string;
  /** The key of the rows in the document. */
  readonly items: string;
  readonly columns: readonly Column<Row>[];
  readonly name: (row: Row) => string;
  /** For people, when there is nothing. */
  readonly none: string;
  /** What `-o json` prints where people expect a shape that is not ours. */
  readonly json?: (rows: readonly Row[]) => object;
}

export interface Listed<Row extends object> {
  readonly rows: readonly Row[];
  /** Undefined where control alone was asked. */
  readonly outcome?: Outcome;
  /** Further keys of the document. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** For people, on standard error after the rows. */
  readonly advice?: string;
  /** 1 when what was found is not as it should be; a partial answer weighs more. */
  readonly code?: 0 | 1;
}

/** The document that `-o json` prints. */
export function listingDocument<Row extends object>(
  listing: Listing<Row>,
  { rows, outcome, extra }: Listed<Row>,
): object {
  const fanOut = outcome === undefined ? {} : { fanOut: outcome };
  return { schema: listing.schema, ...fanOut, ...extra, [listing.items]: rows };
}

export async function renderListing<Row extends object>(
  listing: Listing<Row>,
  listed: Listed<Row>,
  format: ListFormat,
  colours: Colours,
): Promise<string> {
  switch (format) {
    case "table":
    case "wide":
      return tableLines(listing, listed.rows, format === "wide", colours).join("\n");
    case "json":
      return JSON.stringify(listing.json?.(listed.rows) ?? listingDocument(listing, listed), undefined, 2);
    case "yaml": {
      const { stringify } = await import("yaml");
      return stringify(listingDocument(listing, listed), { aliasDuplicateObjects: false }).trimEnd();
    }
    case "jsonl":
      return listed.rows.map((row) => JSON.stringify({ schema: listing.schema, ...row })).join("\n");
    case "name":
      return listed.rows.map(listing.name).join("\n");
  }
}

/** Colours come after the padding: they have no width. */
export function tableLines<Row extends object>(
  { columns }: Pick<Listing<Row>, "columns">,
  rows: readonly Row[],
  wide: boolean,
  colours: Colours,
): string[] {
  if (rows.length === 0) return [];
  const shown = columns.filter((column) => column.wide === undefined || wide === (column.wide === true));
  const cells = rows.map((row) => shown.map((column) => column.cell(row) || "-"));
  const widths = shown.map(({ title }, index) =>
    Math.max(title.length, ...cells.map((line) => line[index]?.length ?? 0)),
  );
  const padded = (text: string, index: number) => (index === shown.length - 1 ? text : text.padEnd(widths[index] ?? 0));
  const head = shown.map(({ title }, index) => padded(title, index)).join("   ");
  const lines = rows.map((row, at) =>
    shown
      .map((column, index) => {
        const text = padded(cells[at]?.[index] ?? "", index);
        return column.style?.(row, colours)?.(text) ?? text;
      })
      .join("   "),
  );
  return [colours.bold(head), ...lines];
}

export function coloursFor({ color }: { readonly color: boolean }): Colours {
  return coloursOf(process.stdout, { ...process.env, ...(color ? {} : { NO_COLOR: "1" }) });
}

/** Prints once; the exit code says whether every node was heard. */
export async function printListing<Row extends object>(
  listing: Listing<Row>,
  listed: Listed<Row>,
  flags: Pick<ListFlags, "output" | "color">,
): Promise<number> {
  const { output } = flags;
  const text = await renderListing(listing, listed, output, coloursFor(flags));
  if (text !== "") process.stdout.write(`${text}\n`);
  else if (output === "table" || output === "wide") process.stderr.write(`${listing.none}\n`);
  tellAdvice(listed.advice, output);
  return tellPartial(listed.outcome) || (listed.code ?? 0);
}

/** A document says by itself what people are told beside it. */
export function tellAdvice(advice: string | undefined, output: ListFormat): void {
  if (advice === undefined || advice === "" || output === "json" || output === "yaml") return;
  process.stderr.write(`${advice}\n`);
}

/** 3 and a word on standard error when the answer is partial. */
export function tellPartial(outcome: Outcome | undefined): number {
  if (outcome === undefined || outcome.failures.length === 0) return 0;
  process.stderr.write(`${partialText(outcome)}\n`);
  return 3;
}

export function partialText({ asked, answered, failures }: Outcome): string {
  return [
    `${answered.length}/${asked.length} nodes answered`,
    ...failures.map(({ node, message }) => `  ${node}: ${message}`),
  ].join("\n");
}
