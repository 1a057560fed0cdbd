import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { tar } from "../../src/lib/tar.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

test("tar reads what was written, whatever its length", async () => {
  const folder = await temporaryFolder();
  const entries = [
    { path: "a.json", text: "{}" },
    { path: "nodes/n-1/empty.txt", text: "" },
    { path: "block.txt", text: "x".repeat(512) },
    { path: "more.txt", text: "ü".repeat(700) },
  ];
  await writeFile(join(folder, "a.tar"), tar(entries, { modifiedAt: 1_700_000_000_000 }));
  execFileSync("tar", ["-xf", "a.tar"], { cwd: folder });
  for (const { path, text } of entries) expect(await readFile(join(folder, path), "utf8")).toBe(text);
});

test("a path that the format can't hold is refused", () => {
  expect(() => tar([{ path: "x".repeat(101), text: "" }], { modifiedAt: 0 })).toThrow(RangeError);
});
