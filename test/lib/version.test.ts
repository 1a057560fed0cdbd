import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { version } from "../../src/lib/version.ts";

test("the program reports the version of its package", () => {
  const manifest: unknown = JSON.parse(readFileSync("package.json", "utf8"));
  expect(manifest).toMatchObject({ version });
});
