import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect, type RunResult } from "../../src/lab/machine/launch.ts";
import { findLabs, removeLab } from "../../src/lab/machine/state-folder.ts";
import type { LabStatus } from "../../src/lab/status.ts";
import { documents, idle, service, web } from "./fixtures.ts";
import { tracesOf } from "./traces.ts";

let folder: string;
let stateRoot: string;
const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Of a lab: cgroups are one space for the whole machine, whatever the state folder. */
function named(name: string): string {
  return `${name}-${process.pid}`;
}

function warren(...args: string[]): Promise<RunResult> {
  const env = { ...process.env, WARREN_LAB_STATE: stateRoot };
  return collect(spawn(process.execPath, [main, "lab", ...args], { env, stdio: "pipe" }));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "warren-verbs-"));
  stateRoot = join(folder, "state");
  const manifests = documents(
    web(),
    service("web"),
    idle("one", "node-1"),
    idle("away", "node-1").replace("name: away", "name: away, namespace: outside"),
  );
  writeFileSync(join(folder, "shop.yaml"), manifests);
  const up = await warren("up", "--no-mesh", "--name", named("verbs"), "-f", join(folder, "shop.yaml"));
  expect(up).toMatchObject({ code: 0, stderr: "" });
  expect(up.stdout).toMatch(/^ +\d+\.\d\d s {2}all pods are ready$/m);
  expect(up.stdout).toContain(`lab ${named("verbs")} is up. Try:`);
});
afterAll(async () => {
  for (const lab of findLabs(stateRoot)) await removeLab(lab);
  rmSync(folder, { recursive: true });
});

async function status(): Promise<LabStatus> {
  return JSON.parse((await warren("status", "-o", "json")).stdout) as LabStatus;
}

describe("warren lab", () => {
  it("refuses a second lab of that name, and says how to remove the first", async () => {
    const { code, stderr } = await warren("up", "--no-mesh", "--name", named("verbs"), "-f", join(folder, "shop.yaml"));
    expect(code).toBe(1);
    expect(stderr).toContain(`a lab named ${named("verbs")} is there already`);
  });

  it("up with manifests that are wrong names them and leaves nothing", async () => {
    writeFileSync(join(folder, "bad.yaml"), "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}");
    const { code, stderr } = await warren("up", "--no-mesh", "--name", named("bad"), "-f", join(folder, "bad.yaml"));
    expect(code).toBe(1);
    expect(stderr).toMatch(/bad\.yaml: Pod x: spec\.containers/);
    expect(tracesOf(named("bad"), stateRoot)).toEqual([]);
  });

  it.each([
    [["up", "--nodes", "none"], /--nodes none is not a whole number/],
    [["up", "--engine", "rust"], /--engine is typescript or native, not rust/],
    [["exec", "one"], /missing required argument/],
    [["apply"], /required option '-f/],
  ])("%j is a usage error", async (args, expected) => {
    const { code, stderr } = await warren(...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(expected);
  });

  it("exec gives the program's output and exit code", async () => {
    const { code, stdout, stderr } = await warren(
      "exec",
      "deploy/web",
      "--",
      "sh",
      "-c",
      "hostname; echo oops >&2; exit 9",
    );
    expect({ code, stderr }).toEqual({ code: 9, stderr: "oops\n" });
    expect(stdout).toMatch(/^web-/);
    expect(
      (await warren("exec", "away", "-n", "outside", "--", "curl", "-sS", "http://web.production/")).stdout,
    ).toMatch(/^web-/);
    expect((await warren("exec", "nobody", "--", "true")).stderr).toMatch(/no pod for nobody.*production\/one/);
  });

  it("status shows nodes, pods and services", async () => {
    const { stdout } = await warren("status");
    expect(stdout).toMatch(/^production +one +node-1 +Running +yes +0 +10\.244\.1\.\d+,fd00:10:244:1::\w+$/m);
    expect((await status()).services.map(({ name }) => name)).toEqual(["web"]);
  });

  it("apply, label and delete change the cluster", async () => {
    writeFileSync(join(folder, "more.yaml"), idle("two", "node-2"));
    expect((await warren("apply", "-f", join(folder, "more.yaml"))).stdout).toBe("pod/two applied\n");
    expect((await warren("label", "Pod", "two", "a=b")).code).toBe(0);
    expect((await status()).pods.find(({ name }) => name === "two")?.labels).toEqual({ a: "b" });
    expect((await warren("delete", "-f", join(folder, "more.yaml"))).stdout).toBe("pod/two deleted\n");
    const names = async () => (await status()).pods.map(({ name }) => name);
    await expect.poll(names, { timeout: 30_000 }).not.toContain("two");
    expect((await warren("delete", "-f", join(folder, "more.yaml"))).stderr).toMatch(/no Pod production\/two/);
    expect((await warren("apply", "-f", join(folder, "bad.yaml"))).stderr).toMatch(/Pod x: spec\.containers/);
  });

  it("logs shows what a container wrote", async () => {
    writeFileSync(
      join(folder, "talks.yaml"),
      idle("talks", "node-1").replace("[sleep, infinity]", '[sh, -c, "echo a; echo b; sleep infinity"]'),
    );
    await warren("apply", "-f", join(folder, "talks.yaml"));
    await expect.poll(async () => (await warren("logs", "talks")).stdout, { timeout: 30_000 }).toBe("a\nb\n");
    expect((await warren("logs", "talks", "--tail", "1")).stdout).toBe("b\n");
    expect((await warren("logs", "talks", "-c", "other")).stderr).toMatch(/no container other; it has: idle/);
  });

  it("down removes the lab, by its owner", async () => {
    expect((await warren("down")).stdout).toBe(`lab ${named("verbs")}: removed\n`);
    expect(tracesOf(named("verbs"), stateRoot)).toEqual([]);
    expect((await warren("down")).stderr).toMatch(/no lab is up here; make one: warren lab up/);
  });

  it("down --all removes what an owner that was killed left", async () => {
    expect((await warren("up", "--no-mesh", "--name", named("killed"), "-f", join(folder, "shop.yaml"))).code).toBe(0);
    const [lab] = findLabs(stateRoot);
    process.kill(lab?.owner.process.pid ?? 0, "SIGKILL");
    await expect.poll(() => findLabs(stateRoot)[0]?.alive).toBe(false);
    expect(tracesOf(named("killed"), stateRoot).length).toBeGreaterThan(5);
    expect((await warren("down", "--all")).stdout).toBe(`lab ${named("killed")}: its owner was dead; removed\n`);
    expect(tracesOf(named("killed"), stateRoot)).toEqual([]);
  });

  it.each(["SIGTERM", "SIGINT"] as const)("an owner that gets %s removes its lab", async (signal) => {
    expect((await warren("up", "--no-mesh", "--name", named("told"), "-f", join(folder, "shop.yaml"))).code).toBe(0);
    const [lab] = findLabs(stateRoot);
    process.kill(lab?.owner.process.pid ?? 0, signal);
    await expect.poll(() => tracesOf(named("told"), stateRoot), { timeout: 30_000 }).toEqual([]);
  });

  it("up that is interrupted removes what it began", async () => {
    const env = { ...process.env, WARREN_LAB_STATE: stateRoot };
    const slow = idle("slow", "node-1").replace(
      "[sleep, infinity]",
      "[sleep, infinity], readinessProbe: {exec: {command: ['false']}}",
    );
    writeFileSync(join(folder, "slow.yaml"), slow);
    const args = [main, "lab", "up", "--no-mesh", "--name", named("interrupted"), "-f", join(folder, "slow.yaml")];
    const child = spawn(process.execPath, args, { env, stdio: "pipe" });
    const result = collect(child);
    await expect.poll(() => tracesOf(named("interrupted"), stateRoot).length, { timeout: 30_000 }).toBeGreaterThan(5);
    child.kill("SIGINT");
    expect((await result).stderr).toContain("interrupted; the lab was removed");
    expect(tracesOf(named("interrupted"), stateRoot)).toEqual([]);
  });
});
