/** Against a folder with a control group's files; the kernel's own are in the bench on real labs (test/integration). */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { freeze, thaw } from "../../bench/lab/freezer.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

async function group(frozen: 0 | 1): Promise<{ path: string; asked: () => Promise<string> }> {
  const path = await temporaryFolder();
  await writeFile(join(path, "cgroup.events"), `populated 1\nfrozen ${frozen}\n`);
  return { path, asked: () => readFile(join(path, "cgroup.freeze"), "utf8") };
}

test("a group is frozen when the kernel says so, and thawed at a word", async () => {
  const { path, asked } = await group(1);
  await freeze(path, 1000);
  expect(await asked()).toBe("1");
  thaw(path);
  expect(await asked()).toBe("0");
});

test("a group that does not freeze in time lives on", async () => {
  const { path, asked } = await group(0);
  await expect(freeze(path, 1)).rejects.toThrow("to be frozen: not within 1 ms");
  expect(await asked()).toBe("0");
});
