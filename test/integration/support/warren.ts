/** The verbs as a person runs them, against one lab. */
import { type ChildProcess, execFile } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Lab } from "../../../src/lab/lab.ts";

const main = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Resolves for every exit code. */
export function warren(lab: Lab, ...args: readonly string[]): Promise<Said> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args, "--name", lab.id], (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** A verb that goes on: what it has said so far, and its end. */
export function warrenRunning(lab: Lab, ...args: readonly string[]) {
  const lines: string[] = [];
  const child: ChildProcess = execFile(process.execPath, [main, ...args, "--name", lab.id]);
  if (child.stdout === null) throw new Error("the verb has no output");
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  const ended = new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? -1)));
  return { lines, ended };
}
