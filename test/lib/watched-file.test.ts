import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { WatchedFile } from "../../src/lib/watched-file.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

async function watched(content: string | undefined) {
  const path = join(await temporaryFolder(), "file");
  if (content !== undefined) await writeFile(path, content);
  const clock = new FakeClock();
  const texts: string[] = [];
  const errors: unknown[] = [];
  const file = new WatchedFile(
    {
      clock,
      onText: (text) => {
        if (text === "bad") throw new Error("refused");
        texts.push(text);
      },
      onError: (error) => errors.push(error),
    },
    { path, intervalMs: 1000 },
  );
  onTestFinished(() => file.stop());
  /** Lets one look happen and waits until the next is scheduled. */
  const look = async () => {
    clock.advance(1000);
    await expect.poll(() => clock.pending.length).toBe(1);
  };
  return { path, file, clock, texts, errors, look };
}

test("the first text comes before start resolves, others as they change, each once", async () => {
  const { path, file, texts, look } = await watched("one");
  await file.start();
  expect(texts).toEqual(["one"]);
  await look();
  await writeFile(path, "two");
  await look();
  await look();
  expect(texts).toEqual(["one", "two"]);
});

test("a file replaced by rename is seen, also with the same size", async () => {
  const { path, file, texts, look } = await watched("one");
  await file.start();
  await writeFile(`${path}.new`, "two");
  await rename(`${path}.new`, path);
  await look();
  expect(texts).toEqual(["one", "two"]);
});

test("Kubernetes' swap of a symlinked folder is seen", async () => {
  const folder = await temporaryFolder();
  for (const name of ["a", "b"]) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, "token"), name);
  }
  await symlink("a", join(folder, "..data"));
  await symlink(join("..data", "token"), join(folder, "token"));
  const texts: string[] = [];
  const clock = new FakeClock();
  const deps = { clock, onText: (text: string) => void texts.push(text), onError: () => {} };
  const file = new WatchedFile(deps, { path: join(folder, "token"), intervalMs: 1000 });
  onTestFinished(() => file.stop());
  await file.start();
  await symlink("b", join(folder, "..new"));
  await rename(join(folder, "..new"), join(folder, "..data"));
  clock.advance(1000);
  await expect.poll(() => texts).toEqual(["a", "b"]);
});

test("a missing file is an error each time, and its return is seen", async () => {
  const { path, file, texts, errors, look } = await watched("one");
  await file.start();
  await rm(path);
  await look();
  await look();
  expect(errors).toHaveLength(2);
  await writeFile(path, "back");
  await look();
  expect(texts).toEqual(["one", "back"]);
});

test("a text that is refused is complained of once", async () => {
  const { path, file, errors, look } = await watched("one");
  await file.start();
  await writeFile(path, "bad");
  await look();
  await look();
  expect(errors).toHaveLength(1);
});

test("start rejects without a file, and then nothing is watched", async () => {
  const { file, clock } = await watched(undefined);
  await expect(file.start()).rejects.toThrow("ENOENT");
  expect(clock.pending).toEqual([]);
});

test("stop ends the watch, twice if need be", async () => {
  const { file, clock } = await watched("one");
  await file.start();
  file.stop();
  file.stop();
  expect(clock.pending).toEqual([]);
});
