/**
 * Fuzzers of what the native engine parses itself (libFuzzer, address and undefined behaviour checked), built here and run all at once, each for half
 * a minute: on two processors a minute of work. A crash fails the test and names the input, which is left beside the build.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, it } from "vitest";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));
const build = fileURLToPath(new URL("../../build/fuzz", import.meta.url));
const targets = ["authority", "decision", "events", "forwarded", "spiffe"] as const;
/** Of each target; `WARREN_FUZZ_SECONDS` for longer. */
const seconds = Number(process.env["WARREN_FUZZ_SECONDS"] ?? 30);

beforeAll(async () => {
  await run("cmake", ["-G", "Ninja", "-S", here, "-B", build, "-DCMAKE_CXX_COMPILER=clang++"]);
  await run("ninja", ["-C", build, "-j2"]);
}, 600_000);

describe.concurrent("whatever bytes it is given", () => {
  it.for(targets)(
    "the parser of fuzz_%s neither crashes nor breaks its promises",
    { timeout: seconds * 1_000 + 300_000 },
    async (target, { expect, onTestFinished }) => {
      const found = await mkdtemp(join(tmpdir(), `warren-fuzz-${target}-`));
      onTestFinished(() => rm(found, { recursive: true }));
      const options = [
        `-max_total_time=${seconds}`,
        "-print_final_stats=1",
        "-timeout=25",
        "-rss_limit_mb=1024",
        `-artifact_prefix=${build}/`,
      ];
      // The first folder takes what the fuzzer finds interesting, the second is only read.
      const { stderr } = await run(join(build, `fuzz_${target}`), [...options, found, join(here, "corpus", target)], {
        maxBuffer: 64 * 1024 * 1024,
      });
      const inputs = Number(/stat::number_of_executed_units:\s*(\d+)/.exec(stderr)?.[1] ?? 0);
      expect(inputs).toBeGreaterThan(1_000);
    },
  );
});
