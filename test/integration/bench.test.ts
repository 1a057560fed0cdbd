/** The bench as its users start it, on real labs: short rounds, and what it says when something is not there. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import type { BenchDocument } from "../../bench/model.ts";
import { defaultStateRoot, findLabs } from "../../src/lab/machine/state-folder.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const out = mkdtempSync(join(tmpdir(), "warren-bench-"));
afterAll(() => rmSync(out, { recursive: true, force: true }));

function bench(...args: string[]): Promise<{ code: number | string; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [path("../../bench/main.ts"), ...args],
      { timeout: 290_000, maxBuffer: 2 ** 24 },
      (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }),
    );
  });
}

const fakePeer = `nsenter --net="$WARREN_PEER_NETNS" ${process.execPath} ${path("../bench/support/fake-peer.ts")}`;

test("measures a peer beside direct connections and our engine, and writes the whole report", {
  timeout: 300_000,
}, async () => {
  const { code, stdout, stderr } = await bench(
    "--quick",
    "--json",
    "--rounds=1",
    "--scenario=pingpong",
    "--variant=direct,typescript,fake,broken",
    `--peer=fake=${fakePeer}`,
    "--peer=broken=exit 3",
    `--out=${out}`,
  );
  expect(code, stderr).toBe(0);
  const document = JSON.parse(stdout) as BenchDocument;
  const row = document.scenarios.find(({ name }) => name === "pingpong_p50");
  const { direct, typescript, fake, broken } = row?.medians ?? {};
  expect(direct).toBeGreaterThan(0);
  // Which of them is quicker is for a quiet machine to tell.
  expect(typescript).toBeGreaterThan(0);
  expect(fake).toBeGreaterThan(0);
  expect(broken).toBeNull();
  expect(row?.reasons["broken"]).toContain("broken (destination) ended with exit code 3");
  expect(document.ratios.pingpong_added_p50).toBeNull();
  expect(document.reasons.pingpong_added_p50).toBe("warren was not among the variants");
  expect(readdirSync(out).sort()).toEqual(["env.json", "raw.json", "report.html", "report.md"]);
  expect(readFileSync(join(out, "report.html"), "utf8")).toContain("<svg");
});

test("leaves no lab behind when it is interrupted", { timeout: 300_000 }, async () => {
  const args = [path("../../bench/main.ts"), "--quick", "--rounds", "50", "--scenario", "pingpong", "--out", out];
  const child = execFile(process.execPath, [...args, "--variant", "direct"], { timeout: 290_000 });
  const ended = once(child, "exit");
  const labs = () => findLabs(defaultStateRoot).filter(({ owner }) => owner.process.pid === child.pid);
  let stderr = "";
  let labsWhileRunning = 0;
  child.stderr?.on("data", (text: string) => {
    stderr += text;
    if (labsWhileRunning > 0 || !stderr.includes("round 1 direct")) return;
    labsWhileRunning = labs().length;
    child.kill("SIGTERM");
    child.kill("SIGTERM");
  });
  expect(await ended, stderr).toEqual([1, null]);
  expect(stderr).toContain("MESH_BENCH_INTERRUPTED");
  expect(labsWhileRunning).toBe(1);
  expect(labs()).toEqual([]);
});
