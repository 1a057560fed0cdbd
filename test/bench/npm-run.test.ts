/** The literal command that people and pipelines type: what npm itself writes must not stand before the document. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("npm run bench writes nothing of its own to standard output", async () => {
  // Without the variables that an outer npm run would hand on: they would decide instead of .npmrc.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  const { stdout } = await promisify(execFile)("npm", ["run", "bench", "--", "--help"], { cwd: root, env });
  expect(stdout).toMatch(/^usage: /);
});
