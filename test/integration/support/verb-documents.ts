/** Verbs by their whole names, and what they print for programs. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { onTestFinished } from "vitest";

/** Commands without commands of their own, by their whole name. */
export function leavesOf(
  command: Command,
  path: readonly string[] = [],
): { name: string; options: Command["options"] }[] {
  return command.commands.flatMap((child) => {
    const name = [...path, child.name()];
    const inner = leavesOf(child, name);
    return inner.length === 0 ? [{ name: name.join(" "), options: child.options }] : inner;
  });
}

/** One document, or one on each line. */
export function documentsIn(text: string): object[] {
  try {
    return [JSON.parse(text) as object];
  } catch {
    return text === "" ? [] : text.split("\n").map((line) => JSON.parse(line) as object);
  }
}

export function schemaOf(document: object): string {
  const { schema } = document as { schema?: unknown };
  return typeof schema === "string" ? schema : "none";
}

/** The first two lines of a verb with `--watch`, and how it ends when it is interrupted then; a third may have been on its way. */
export async function firstLooks(verb: string): Promise<{ readonly lines: string[]; readonly code: number | null }> {
  const main = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));
  // Patient: several are started at once, and a machine may stall.
  const args = [...verb.split(" "), "--watch", "--timeout", "30s"];
  const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const [lines, advice]: [string[], Promise<string>] = [[], text(child.stderr)];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === 2) child.kill("SIGINT");
  }
  if (lines.length < 2) throw new Error(`${verb} --watch ended after ${lines.length} looks: ${await advice}`);
  return { lines, code: await ended };
}
