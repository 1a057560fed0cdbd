/**
 * The conformance suite again, on builds of the engine that watch themselves: AddressSanitizer with UndefinedBehaviorSanitizer, and
 * ThreadSanitizer. The real addon in the real Node, with the sanitizer's library loaded first; whatever it reports fails the test.
 *
 * What runs is everything that the native engine takes part in, with two workers: captured and carried flows, both address families,
 * certificates and resumed sessions, CONNECT requests, hand-over, life and end, the pool, remembered decisions and their race, enforcement,
 * floods, peers that vanish or stall, exhausted descriptors (threads only), what may wait for slow readers; and the tests of several
 * workers, with four.
 * Left out are three files whose assertions are about time and memory that a watched build spends otherwise, and that go no other ways
 * through the engine: 10 000 idle flows, the long path, turns among greedy neighbours.
 *
 * Leaks are not looked for, because V8's heap hides pointers from LeakSanitizer: counted bytes and descriptors are (`robustness-*`). TSan
 * does not see into Node, OpenSSL and nghttp2, which are not instrumented, and is told so.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished } from "vitest";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
/**
 * All tests that the native engine takes part in. Of those that move hundreds of MiB only the ones that have it at both ends: the others
 * would take half of the time and show its code nothing new.
 */
const chosen = "^(?!.*typescript.*100 MiB)(?!.*what waits.*typescript).*(native|several workers)";
const suites =
  "captured carrying certificates connect-requests dual-stack enforcement floods hand-over lifecycle pool remembered remembered-race resumption robustness-descriptors robustness-memory robustness-peers".split(
    " ",
  );
const fewestTests = 250;
/** Of decisions while connections arrive, a tenth of what an ordinary build does: code is several times slower here. */
const changes = 300;

interface Sanitizer {
  readonly title: string;
  /** Value of the build's WARREN_SANITIZE. */
  readonly kind: "address" | "thread";
  readonly library: string;
  /** What it cannot watch. */
  readonly without: readonly string[];
  options(logs: string): Record<string, string>;
}

const sanitizers: readonly Sanitizer[] = [
  {
    title: "addresses and undefined behaviour",
    kind: "address",
    library: "libasan.so",
    // UBSan asks whether an object's memory can be read by means of a pipe, and takes a failure to make one for a broken object.
    without: ["robustness-descriptors"],
    options: (logs) => ({
      ASAN_OPTIONS: `detect_leaks=0:exitcode=99:log_path=${logs}/asan`,
      UBSAN_OPTIONS: `print_stacktrace=1:halt_on_error=1:log_path=${logs}/ubsan`,
    }),
  },
  {
    title: "races between threads",
    kind: "thread",
    library: "libtsan.so",
    without: [],
    options: (logs) => ({
      TSAN_OPTIONS: `exitcode=99:second_deadlock_stack=1:ignore_noninstrumented_modules=1:log_path=${logs}/tsan`,
    }),
  },
];

interface Summary {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

async function build(kind: Sanitizer["kind"]): Promise<string> {
  const folder = join(root, "build", `engine-${kind}`);
  const configure = ["-S", root, "-B", folder, "-G", "Ninja", `-DWARREN_SANITIZE=${kind}`, "-DCMAKE_CXX_COMPILER=g++"];
  await run("cmake", configure);
  await run("ninja", ["-C", folder, "-j2", "warren_engine"], { maxBuffer: 64 * 1024 * 1024 });
  return join(folder, "addons", "warren_engine.node");
}

async function reportsIn(folder: string): Promise<string[]> {
  return Promise.all((await readdir(folder)).map((file) => readFile(join(folder, file), "utf8")));
}

describe("the native engine, watched for", () => {
  it.each(sanitizers)("$title, passes the conformance suite in silence", { timeout: 1_500_000 }, async (sanitizer) => {
    const addon = await build(sanitizer.kind);
    const { stdout: library } = await run("g++", [`-print-file-name=${sanitizer.library}`]);
    const logs = await mkdtemp(join(tmpdir(), `warren-${sanitizer.kind}-`));
    onTestFinished(() => rm(logs, { recursive: true }));
    const watched = suites.filter((name) => !sanitizer.without.includes(name));
    const tests = [...watched.map((name) => `test/conformance/${name}.test.ts`), "test/tunnel/native/workers.test.ts"];
    const summary = join(logs, "..", `${basename(logs)}.json`);
    const arguments_ = ["node_modules/vitest/vitest.mjs", "run", "--project", "unit", "--testNamePattern", chosen];
    arguments_.push("--reporter", "json", "--outputFile", summary, "--maxWorkers", "2", "--testTimeout", "180000");
    // Code is several times slower here: a test that waited in vain once may wait again. The sanitizers' silence is what counts, and they
    // do not forget.
    arguments_.push("--retry", "2");
    const output = await run(process.execPath, [...arguments_, ...tests], {
      cwd: root,
      maxBuffer: 64 * 1024 * 1024,
      env: {
        ...process.env,
        ...sanitizer.options(logs),
        LD_PRELOAD: library.trim(),
        WARREN_ENGINE_ADDON: addon,
        WARREN_TEST_WORKERS: "2",
        WARREN_TEST_CHANGES: String(changes),
      },
    }).catch((error: unknown) => error as { stdout?: string; stderr?: string }); // what failed stands in the summary
    onTestFinished(() => rm(summary, { force: true }));
    expect(await reportsIn(logs)).toEqual([]);
    const text = await readFile(summary, "utf8").catch(() => "");
    expect(text, `no summary; the run said: ${output.stdout} ${output.stderr}`).not.toBe("");
    const { numPassedTests, testResults } = JSON.parse(text) as Summary;
    const failed = testResults.flatMap(({ assertionResults }) =>
      assertionResults.filter(({ status }) => status === "failed").map(({ fullName }) => fullName),
    );
    expect(failed).toEqual([]);
    expect(numPassedTests).toBeGreaterThan(fewestTests);
  });
});
