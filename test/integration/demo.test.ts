import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { expectDocument } from "../support/documents.ts";

const report = z.strictObject({
  schema: z.literal("warren.demo/v1"),
  checks: z.array(z.strictObject({ name: z.string(), ok: z.boolean(), detail: z.string() })),
  ok: z.boolean(),
});

/** Runs the program as a person would, with the Node that runs the tests. */
async function warren(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ["bin/warren.js", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await ended, stdout, stderr };
}

describe.for(["ebpf", "nftables"] as const)("the demo on the %s backend", (backend) => {
  test("every line holds", { timeout: 300_000 }, async () => {
    const { code, stdout, stderr } = await warren("demo", "--json", "--backend", backend);
    const { checks, ok } = report.parse(JSON.parse(stdout || "null"));
    expectDocument(JSON.parse(stdout) as object, "warren.demo/v1");
    expect(
      checks.filter((check) => !check.ok),
      stderr,
    ).toEqual([]);
    expect(checks.length).toBeGreaterThanOrEqual(18);
    expect({ ok, code }).toEqual({ ok: true, code: 0 });
  });
});
