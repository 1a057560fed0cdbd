import { stripVTControlCharacters } from "node:util";
import picocolors from "picocolors";
import { expect, test } from "vitest";
import {
  type Listing,
  listingDocument,
  partialText,
  renderListing,
  tableLines,
} from "../../../src/cli/output/listing.ts";
import { bytesText, spanText } from "../../../src/cli/output/words.ts";

interface Row {
  readonly name: string;
  readonly size: number;
}

const listing: Listing<Row> = {
  schema: "warren.things/v1",
  items: "things",
  columns: [
    { title: "NAME", cell: ({ name }) => name, style: ({ size }, colours) => (size > 5 ? colours.red : undefined) },
    { title: "NOTE", cell: () => "", wide: true },
    { title: "SIZE", cell: ({ size }) => String(size) },
  ],
  name: ({ name }) => `thing/${name}`,
  none: "no things",
};
const rows: Row[] = [
  { name: "a-long-name", size: 9 },
  { name: "b", size: 1 },
];
const outcome = { asked: ["w1", "w2"], answered: ["w1"], failures: [{ node: "w2", message: "away" }] };
const plain = picocolors.createColors(false);
const render = (format: Parameters<typeof renderListing>[2]) =>
  renderListing(listing, { rows, outcome }, format, plain);

test("a table has columns as wide as their cells, and wide ones only on demand", async () => {
  expect(await render("table")).toBe("NAME          SIZE\na-long-name   9\nb             1");
  expect(await render("wide")).toBe("NAME          NOTE   SIZE\na-long-name   -      9\nb             -      1");
});

test("colours have no width", () => {
  const [head = "", first = "", second = ""] = tableLines(listing, rows, false, picocolors.createColors(true));
  expect(first).toContain("\u001b[31m");
  expect(
    [head, first, second].map(
      (line) => stripVTControlCharacters(line).length - stripVTControlCharacters(line).trimEnd().length,
    ),
  ).toEqual([0, 0, 0]);
  expect(stripVTControlCharacters(first).indexOf("9")).toBe(stripVTControlCharacters(second).indexOf("1"));
});

test("documents name their schema and who answered", async () => {
  expect(JSON.parse(await render("json"))).toEqual({ schema: "warren.things/v1", fanOut: outcome, things: rows });
  expect(listingDocument(listing, { rows: [], extra: { more: 1 } })).toEqual({
    schema: "warren.things/v1",
    more: 1,
    things: [],
  });
  expect((await render("jsonl")).split("\n").map((line) => JSON.parse(line) as object)).toEqual(
    rows.map((row) => ({ schema: "warren.things/v1", ...row })),
  );
  expect(await render("name")).toBe("thing/a-long-name\nthing/b");
  expect(await render("yaml")).toMatch(/^schema: warren.things\/v1\nfanOut:/);
});

test("a partial answer says whom it lacks", () => {
  expect(partialText(outcome)).toBe("1/2 nodes answered\n  w2: away");
});

test.each([
  [0, "0s"],
  [999, "0s"],
  [61_000, "1m1s"],
  [19 * 3_600_000 + 12 * 60_000 + 5000, "19h12m"],
  [6 * 86_400_000 + 4 * 3_600_000, "6d4h"],
  [-12_000, "-12s"],
])("%d ms reads %s", (span, expected) => {
  expect(spanText(span)).toBe(expected);
});

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1536, "1.5 KiB"],
  [5 * 1024 ** 3, "5.0 GiB"],
])("%d bytes read %s", (bytes, expected) => {
  expect(bytesText(bytes)).toBe(expected);
});
