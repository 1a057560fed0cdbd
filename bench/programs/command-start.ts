/**
 * How long `warren --help` takes beside a Node that does nothing, in turns: what a person waits for before any verb does its work.
 *
 *   node bench/programs/command-start.ts [--rounds 15] [--json]
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "15" }, json: { type: "boolean", default: false } },
});
const built = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const main = existsSync(built) ? built : fileURLToPath(new URL("../../src/main.ts", import.meta.url));

const commands = { node: ["-e", "0"], help: [main, "--help"], verb: [main, "connections", "--help"] } as const;
type Command = keyof typeof commands;
const taken: Record<Command, number[]> = { node: [], help: [], verb: [] };

function once(command: Command): number {
  const startedAt = performance.now();
  const { status, stdout } = spawnSync(process.execPath, commands[command], { encoding: "utf8" });
  const tookMs = performance.now() - startedAt;
  if (status !== 0) throw new Error(`${commands[command].join(" ")} ended with ${status}`);
  if (command !== "node" && !stdout.includes("Usage: warren")) throw new Error(`${command} printed no help`);
  return tookMs;
}

const names = Object.keys(commands) as Command[];
// The first start of each reads its files from the disk.
for (const command of names) once(command);
for (let round = 0; round < Number(values.rounds); round++)
  for (const command of names) taken[command].push(once(command));

function median(times: readonly number[]): number {
  return times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)] ?? 0;
}

const result = {
  rounds: Number(values.rounds),
  nodeMs: median(taken.node),
  helpMs: median(taken.help),
  verbMs: median(taken.verb),
  helpRatio: median(taken.help) / median(taken.node),
};
if (values.json) {
  console.log(JSON.stringify(result));
} else {
  console.log(`node -e 0                     ${result.nodeMs.toFixed(0)} ms`);
  console.log(`warren --help                 ${result.helpMs.toFixed(0)} ms, ${result.helpRatio.toFixed(2)} x`);
  console.log(`warren connections --help     ${result.verbMs.toFixed(0)} ms`);
}
