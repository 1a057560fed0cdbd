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
      const lastLine = stderr.trim().split("\n").at(-1) ?? "";
      if (error !== null)
        return reject(new MeshError("MESH_BENCH_PROGRAM", `${name}: ${lastLine || error.message}`, { cause: error }));
      try {
        resolve(JSON.parse(stdout) as T);
      } catch (cause) {
        reject(new MeshError("MESH_BENCH_PROGRAM", `${name} printed no JSON: ${stdout.slice(0, 200)}`, { cause }));
      }
    });
  });
}
