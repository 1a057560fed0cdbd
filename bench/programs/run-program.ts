/** Runs one of this folder's programs in a process of its own, so that its heap and its compiled code are nobody else's. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { MeshError } from "../../src/lib/errors.ts";

export interface ProgramOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Options of Node's own. */
  readonly node?: readonly string[];
}

/** The JSON document that it prints. */
export function runProgram<T>(
  name: string,
  args: readonly string[],
  { timeoutMs, signal, node = [] }: ProgramOptions,
): Promise<T> {
  const path = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
  return new Promise((resolve, reject) => {
    const options = { timeout: timeoutMs, signal, maxBuffer: 2 ** 26 };
    execFile(process.execPath, [...node, path, ...args], options, (error, stdout, stderr) => {
      if (error !== null) {
        // Of what Node writes about an uncaught error the line with the error itself; its own version comes last.
        const said = stderr.split("\n").findLast((line) => /^\w*Error\b/.test(line));
        const why = said ?? (error.killed === true ? `not done within ${timeoutMs / 1000} s` : error.message);
        return reject(new MeshError("MESH_BENCH_PROGRAM", `${name}: ${why}`, { cause: error }));
      }
      try {
        resolve(JSON.parse(stdout) as T);
      } catch (cause) {
        reject(new MeshError("MESH_BENCH_PROGRAM", `${name} printed no JSON: ${stdout.slice(0, 200)}`, { cause }));
      }
    });
  });
}
