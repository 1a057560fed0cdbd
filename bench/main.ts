/**
 * `npm run bench`: the mesh measured on the lab or a cluster against direct connections and against itself on the other engine.
 * Arguments are read, beds are made, rounds run, and what came out is written down: the document on standard output, the report in
 * `bench/out/<date>`. Exit codes: 0 measured, 1 failed or worse than what it was compared with, 2 usage, 3 the target cannot be had.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MeshError, messageOf } from "../src/lib/errors.ts";
import { type BenchRequest, type Names, parseBenchArguments } from "./arguments.ts";
import { catalogue } from "./catalogue.ts";
import { clusterScenarios, runOnCluster } from "./cluster/cluster-target.ts";
import { clusterVariants } from "./cluster/pods.ts";
import { describeEnvironment } from "./environment.ts";
import { LabBed, type Recipe } from "./lab/bed.ts";
import { findLoadGenerator, loadProgram } from "./lab/program.ts";
import { type BenchDocument, builtInVariants, type Environment, type Target, type Variant } from "./model.ts";
import { compareDocuments } from "./report/compare.ts";
import { renderHtml } from "./report/html.ts";
import { renderMarkdown } from "./report/markdown.ts";
import { Runner, type RunResults } from "./runner.ts";
import { columnsOf, fullPace, type Pace, quickPace } from "./scenarios/scenario.ts";
import { type MeasuredScenario, makeDocument } from "./summary.ts";

/** Everything in a run has a bound of its own; this one is for what nobody thought of. */
const limitMs = { quick: 15 * 60_000, full: 3 * 3_600_000 } as const;
/** Images and a cluster are made first. */
const clusterMs = 45 * 60_000;

const root = fileURLToPath(new URL("..", import.meta.url));

function namesOf(target: Target): Names {
  if (target === "lab")
    return { scenarios: catalogue(fullPace).map(({ name }) => name), variants: [...builtInVariants] };
  const scenarios = clusterScenarios({ quick: false, scenarios: undefined }, fullPace).map(({ name }) => name);
  return { scenarios, variants: clusterVariants };
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parseBenchArguments(args, namesOf);
  switch (parsed.kind) {
    case "help":
      process.stdout.write(parsed.text);
      return 0;
    case "wrong":
      process.stderr.write(`bench: ${parsed.message}\n`);
      return 2;
    case "run":
      return bench(parsed.request);
  }
}

interface Context {
  readonly request: BenchRequest;
  readonly pace: Pace;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** What a target gives, whichever it is. */
interface TargetRun {
  readonly results: RunResults;
  readonly scenarios: readonly MeasuredScenario[];
  readonly from: Environment["program"];
  readonly cluster: Environment["cluster"];
}

async function bench(request: BenchRequest): Promise<number> {
  const old = request.compare === undefined ? undefined : readDocument(request.compare);
  const startedAt = performance.now();
  const say = (line: string) =>
    process.stderr.write(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
  const stop = new AbortController();
  const interrupt = () => stop.abort(new MeshError("MESH_BENCH_INTERRUPTED", "interrupted; what was made was removed"));
  // For good: a second signal must not end the process while labs or clusters are being removed.
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt).on("SIGHUP", interrupt);
  const limit = (request.quick ? limitMs.quick : limitMs.full) + (request.target === "lab" ? 0 : clusterMs);
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(limit)]);

  const date = new Date();
  const context: Context = { request, pace: request.quick ? quickPace : fullPace, signal, say };
  const run = request.target === "lab" ? await onLab(context) : await onCluster(request.target, context);
  if (typeof run === "number") return run;
  const { results, scenarios, from, cluster } = run;
  const { quick, rounds, target } = request;
  const env = await describeEnvironment({ date, quick, rounds, target, from, cluster }, results);
  const document = makeDocument(env, { scenarios, ...results });
  writeReport(request.out ?? defaultFolder(date), document, results, say);
  process.stdout.write(
    request.json
      ? `${JSON.stringify(document)}\n`
      : renderMarkdown({ document, samples: results.samples, absences: results.absences }),
  );
  if (old === undefined) return 0;
  const { text, worse } = compareDocuments(old, document);
  (request.json ? process.stderr : process.stdout).write(text);
  return worse ? 1 : 0;
}

async function onLab({ request, pace, signal, say }: Context): Promise<TargetRun> {
  const { variants, peers, rounds, quick, scenarios: wanted } = request;
  const loadGenerator = findLoadGenerator();
  const program = await loadProgram();
  const scenarios = catalogue(pace).filter(({ name, quick: isQuick }) => wanted?.includes(name) ?? (isQuick || !quick));
  const up = (recipe: Recipe, variant: Variant, waiting: AbortSignal) => {
    const peer = peers.find(({ name }) => name === variant);
    return LabBed.up({ program, loadGenerator, recipe, variant, peer, say }, waiting);
  };
  const results = await new Runner({ up, scenarios, variants, rounds, pace, signal, say }).run();
  return {
    results,
    scenarios: scenarios.map((scenario) => ({ ...scenario, variants: columnsOf(scenario, variants) })),
    from: program.from,
    cluster: undefined,
  };
}

async function onCluster(target: Exclude<Target, "lab">, context: Context): Promise<TargetRun | number> {
  const run = await runOnCluster(target, { ...context, machine: { root, proc: "/proc" } });
  if ("results" in run) {
    const { variants } = context.request;
    const scenarios = run.scenarios.map((scenario) => ({ ...scenario, variants: columnsOf(scenario, variants) }));
    return { ...run, scenarios, from: "image" };
  }
  const problems = run.map((problem) => `  ${problem}\n`);
  process.stderr.write(`bench: --target ${target} cannot run here; missing:\n${problems.join("")}`);
  return 3;
}

function writeReport(folder: string, document: BenchDocument, results: RunResults, say: (line: string) => void): void {
  mkdirSync(folder, { recursive: true });
  const { samples, absences } = results;
  const report = { document, samples, absences };
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
  write("report.md", renderMarkdown(report));
  write("report.html", renderHtml(report));
  write("raw.json", `${JSON.stringify({ ...document, absences, samples })}\n`);
  write("env.json", `${JSON.stringify(document.env, undefined, 2)}\n`);
  say(`report: ${join(folder, "report.html")}`);
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
