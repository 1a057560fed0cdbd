/** The program's verbs run in this process, for tests that call many: what they print and how they end. */
import { vi } from "vitest";
import { runCli } from "../../../src/cli/program.ts";

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function warren(...args: readonly string[]): Promise<CliResult> {
  const out: string[] = [];
  const err: string[] = [];
  const take = (into: string[]) => (chunk: string | Uint8Array) => {
    into.push(typeof chunk === "string" ? chunk : Buffer.from(chunk).toString());
    return true;
  };
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation(take(out)),
    vi.spyOn(process.stderr, "write").mockImplementation(take(err)),
  ];
  try {
    const code = await runCli(args);
    return { code, stdout: out.join(""), stderr: err.join("") };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** The document that a verb prints with `-o json`. */
export async function document<T = Record<string, unknown>>(...args: readonly string[]): Promise<T & { code: number }> {
  const { code, stdout, stderr } = await warren(...args, "-o", "json");
  if (stdout === "") throw new Error(`warren ${args.join(" ")} printed nothing and exits ${code}: ${stderr}`);
  return { ...(JSON.parse(stdout) as T), code };
}
