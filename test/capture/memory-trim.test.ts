import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { addonPath } from "../../src/capture/addon.ts";

interface Mapped {
  readonly resident: number;
  /** Of these, pages that the process has a copy of its own of. */
  readonly anonymous: number;
}

/** KiB of the running program's own file, as far as it is mapped to be read or run, before and after a process trims its memory. */
const program = `
  import { createHash } from "node:crypto";
  import { openSync, readFileSync, readSync, realpathSync, writeSync } from "node:fs";
  import { createRequire } from "node:module";
  const self = realpathSync(process.execPath);
  const mappings = () => {
    const found = [];
    let last;
    for (const line of readFileSync("/proc/self/smaps", "utf8").split("\\n")) {
      const [, start, end, rights, path] = /^([0-9a-f]+)-([0-9a-f]+) (\\S+) \\S+ \\S+ \\S+ +(.*)$/.exec(line) ?? [];
      const [, name, size] = /^(Rss|Anonymous): +(\\d+) kB$/.exec(line) ?? [];
      if (start !== undefined) found.push((last = { start: parseInt(start, 16), end: parseInt(end, 16), rights, path }));
      if (name !== undefined) last[name] = Number(size);
    }
    return found.filter(({ rights, path }) => path === self && !rights.includes("w"));
  };
  const mapped = () => mappings().reduce(
    ({ resident, anonymous }, { Rss, Anonymous }) => ({ resident: resident + Rss, anonymous: anonymous + Anonymous }),
    { resident: 0, anonymous: 0 },
  );
  // What a debugger does: a page is written to that nobody may write to, here with what is in it.
  const constants = mappings().filter(({ rights }) => rights === "r--p").sort((a, b) => b.end - b.start - (a.end - a.start))[0];
  const memory = openSync("/proc/self/mem", "r+");
  const byte = Buffer.alloc(1);
  readSync(memory, byte, 0, 1, constants.start);
  const untouched = mapped();
  writeSync(memory, byte, 0, 1, constants.start);
  const before = mapped();
  const { trimMemory } = createRequire(import.meta.url)(${JSON.stringify(addonPath)});
  trimMemory();
  const after = mapped();
  const hash = createHash("sha256").update("abc").digest("hex");
  process.stdout.write(JSON.stringify({ untouched, before, after, hash }));
`;

test("trimming unmaps what is the same in the program's file, keeps a process's own copies, and the process goes on", () => {
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  const { untouched, before, after, hash } = JSON.parse(output) as Record<"untouched" | "before" | "after", Mapped> & {
    readonly hash: string;
  };
  expect(before.anonymous).toBeGreaterThan(untouched.anonymous);
  expect(after.anonymous).toBe(before.anonymous);
  expect(after.resident * 2).toBeLessThan(before.resident);
  // FIPS 180-2, appendix B.1.
  expect(hash).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});
