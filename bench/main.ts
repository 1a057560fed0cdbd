/**
 * `npm run bench`: the mesh measured on the lab against direct connections and against itself on the other engine. Arguments are read,
 * beds are made, rounds run, and what came out is written down: the document on standard output, the report in `bench/out/<date>`.
 * Exit codes: 0 measured, 1 failed or worse than what it was compared with, 2 usage, 3 a target that is not there.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MeshError, messageOf } from "../src/lib/errors.ts";
import { type BenchRequest, parseBenchArguments } from "./arguments.ts";
import { catalogue } from "./catalogue.ts";
import { describeEnvironment } from "./environment.ts";
import { LabBed, type Recipe } from "./lab/bed.ts";
import { findLoadGenerator, loadProgram } from "./lab/program.ts";
import type { BenchDocument, Variant } from "./model.ts";
import { compareDocuments } from "./report/compare.ts";
import { renderHtml } from "./report/html.ts";
import { renderMarkdown } from "./report/markdown.ts";
import { Runner } from "./runner.ts";
import { columnsOf, fullPace, quickPace } from "./scenarios/scenario.ts";
import { makeDocument } from "./summary.ts";

/** Everything in a run has a bound of its own; this one is for what nobody thought of. */
const limitMs = { quick: 15 * 60_000, full: 3 * 3_600_000 } as const;

async function main(args: readonly string[]): Promise<number> {
  const parsed = parseBenchArguments(
    args,
    catalogue(fullPace).map(({ name }) => name),
  );
  switch (parsed.kind) {
    case "help":
      process.stdout.write(parsed.text);
      return 0;
    case "wrong":
      process.stderr.write(`bench: ${parsed.message}\n`);
      return parsed.exitCode;
    case "run":
      return bench(parsed.request);
  }
}

async function bench(request: BenchRequest): Promise<number> {
  const old = request.compare === undefined ? undefined : readDocument(request.compare);
  const startedAt = performance.now();
  const say = (line: string) =>
    process.stderr.write(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
  const stop = new AbortController();
  const interrupt = () => stop.abort(new MeshError("MESH_BENCH_INTERRUPTED", "interrupted; the labs were removed"));
  // For good: a second signal must not end the process while labs are being removed.
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt).on("SIGHUP", interrupt);
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(request.quick ? limitMs.quick : limitMs.full)]);

  const date = new Date();
  const loadGenerator = findLoadGenerator();
  const program = await loadProgram();
  const pace = request.quick ? quickPace : fullPace;
  const scenarios = catalogue(pace).filter(
    ({ name, quick }) => request.scenarios?.includes(name) ?? (quick || !request.quick),
  );
  const { variants, peers, rounds } = request;
  const up = (recipe: Recipe, variant: Variant, waiting: AbortSignal) => {
    const peer = peers.find(({ name }) => name === variant);
    return LabBed.up({ program, loadGenerator, recipe, variant, peer, say }, waiting);
  };
  const runner = new Runner({ up, scenarios, variants, rounds, pace, signal, say });
  const results = await runner.run();
  const env = await describeEnvironment({ date, quick: request.quick, rounds, program }, results);
  const document = makeDocument(env, {
    scenarios: scenarios.map((scenario) => ({ ...scenario, variants: columnsOf(scenario, variants) })),
    ...results,
  });

  const folder = request.out ?? defaultFolder(date);
  mkdirSync(folder, { recursive: true });
  const report = { document, samples: results.samples, absences: results.absences };
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
  const markdown = renderMarkdown(report);
  write("report.md", markdown);
  write("report.html", renderHtml(report));
  write("raw.json", `${JSON.stringify({ ...document, absences: results.absences, samples: results.samples })}\n`);
  write("env.json", `${JSON.stringify(env, undefined, 2)}\n`);
  say(`report: ${join(folder, "report.html")}`);
  process.stdout.write(request.json ? `${JSON.stringify(document)}\n` : markdown);
  if (old === undefined) return 0;
  const { text, worse } = compareDocuments(old, document);
  (request.json ? process.stderr : process.stdout).write(text);
  return worse ? 1 : 0;
}

function defaultFolder(date: Date): string {
  const name = date.toISOString().slice(0, 19).replaceAll(":", "-");
  return fileURLToPath(new URL(`out/${name}`, import.meta.url));
}

function readDocument(path: string): BenchDocument {
  try {
    const document = JSON.parse(readFileSync(path, "utf8")) as Partial<BenchDocument>;
    if (!Array.isArray(document.scenarios) || typeof document.ratios !== "object")
      throw new MeshError("MESH_BENCH_COMPARE", "it has no scenarios and ratios");
    return document as BenchDocument;
  } catch (cause) {
    throw new MeshError("MESH_BENCH_COMPARE", `${path} is no document of the bench: ${messageOf(cause)}`, { cause });
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench: ${error instanceof MeshError ? `${error.message} (${error.code})` : String(error)}\n`);
  if (!(error instanceof MeshError) && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
  process.exitCode = error instanceof MeshError && error.code === "MESH_BENCH_COMPARE" ? 2 : 1;
}
