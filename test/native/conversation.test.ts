/** When a worker looks on before it sleeps (native/engine/core/conversation.h): its own program, watched by the sanitizers. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { temporaryFolder } from "../support/temporary-folder.ts";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));
const native = join(here, "../../native");

it("a worker looks on while that is worth it, and for whom it is", { timeout: 300_000 }, async () => {
  const program = join(await temporaryFolder(), "conversation");
  const flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"];
  const sources = [join(here, "conversation.cc"), join(native, "engine/core/conversation.cc")];
  await run("g++", [...flags, `-I${native}`, ...sources, "-o", program]);
  const { stdout } = await run(program);
  const said = stdout.trimEnd().split("\n");
  expect(said.filter((line) => !line.startsWith("ok "))).toEqual([]);
  expect(said.length).toBeGreaterThan(15);
});
