import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { Cgroup, findCgroup2 } from "../../src/lab/machine/cgroup.ts";
import { claimLab, findLabs, removeLab, sweepLabs } from "../../src/lab/machine/state-folder.ts";
import { documents, idle, service, web } from "./fixtures.ts";
import { netnsInode, tracesOf } from "./traces.ts";

const manifests = [documents(web(), service("web"), idle("one", "node-2"))];

let stateRoot: string;
beforeEach(() => {
  stateRoot = mkdtempSync(join(tmpdir(), "warren-lab-test-"));
});
afterEach(async () => {
  for (const lab of findLabs(stateRoot)) await removeLab(lab);
  rmSync(stateRoot, { recursive: true });
});

/** Of a lab: cgroups are one space for the whole machine, whatever the state folder. */
function named(name: string): string {
  return `${name}-${process.pid}`;
}

function up(options: { id?: string; signal?: AbortSignal } = {}): Promise<Lab> {
  const { id, signal = AbortSignal.timeout(90_000) } = options;
  return Lab.up({ mesh: false, stateRoot, manifests, ...(id !== undefined && { id }) }, signal);
}

function inodesOf(lab: Lab): Set<bigint> {
  const pods = lab.pods().map((pod) => pod.netnsPath ?? "");
  const nodes = lab.nodes().map((node) => lab.node(node).sandbox.netnsPath);
  return new Set([...pods, ...nodes].map(netnsInode));
}

/** Another process that owns a lab and says its id when all is ready. */
async function otherOwner(id: string): Promise<ChildProcess> {
  const script = `
    const { Lab } = await import(${JSON.stringify(fileURLToPath(new URL("../../src/lab/lab.ts", import.meta.url)))});
    const lab = await Lab.up(${JSON.stringify({ mesh: false, stateRoot, manifests, id })}, AbortSignal.timeout(90_000));
    await lab.waitReady();
    console.log("ready");
    setInterval(() => {}, 1_000_000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  await Promise.race([
    once(lines, "line"),
    once(child, "exit").then(() => Promise.reject(new Error("the owner ended early"))),
  ]);
  return child;
}

it("two labs run side by side with the same addresses and nothing in common", async () => {
  const labs = await Promise.all([up(), up()]);
  try {
    await Promise.all(labs.map((lab) => lab.waitReady()));
    const answers = await Promise.all(labs.map((lab) => lab.exec("one", ["curl", "-sS", "http://web/"])));
    const [first, second] = labs.map((lab) => lab.pod("web"));
    expect(first?.ips).toEqual(second?.ips);
    expect(answers.map(({ stdout }) => stdout.split(" ")[0])).toEqual([first?.name, second?.name]);
    await labs[0]?.down();
    expect((await labs[1]?.exec("one", ["curl", "-sS", "http://web/"]))?.code).toBe(0);
  } finally {
    await Promise.all(labs.map((lab) => lab.down()));
  }
});

it("down leaves nothing, whatever still runs, and may be called twice", async () => {
  const lab = await up();
  await lab.waitReady();
  lab.spawn("one", ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
  await lab.capturePackets({ where: "fabric" });
  const inodes = inodesOf(lab);
  expect(tracesOf(lab.id, stateRoot, inodes).length).toBeGreaterThan(5);
  await Promise.all([lab.down(), lab.down()]);
  expect(tracesOf(lab.id, stateRoot, inodes)).toEqual([]);
});

it("no mount of a lab is ever seen outside its own namespaces", async () => {
  const lab = await up();
  await lab.waitReady();
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(lab.id);
  await lab.down();
});

it("an error on the way up leaves nothing", async () => {
  await expect(up({ signal: AbortSignal.abort(new Error("stop")) })).rejects.toThrow("stop");
  const stop = new AbortController();
  const coming = up({ id: named("halfway"), signal: stop.signal });
  await expect.poll(() => existsSync(join(findCgroup2(), `warren-lab-${named("halfway")}`, "node-1"))).toBe(true);
  stop.abort(new Error("changed my mind"));
  await coming.then(
    (lab) => lab.down(),
    (error: unknown) => expect(String(error)).toContain("changed my mind"),
  );
  expect(tracesOf(named("halfway"), stateRoot)).toEqual([]);
  await expect(
    Lab.up({ mesh: false, stateRoot, manifests: ["kind: Pod"] }, AbortSignal.timeout(90_000)),
  ).rejects.toThrow(/not usable/);
  expect(readdirSync(stateRoot)).toEqual([]);
});

it("a name can be taken once, and again when it is free", async () => {
  const lab = await up({ id: named("taken") });
  await expect(up({ id: named("taken") })).rejects.toThrow(
    /a lab named (taken-\d+) is there already.*lab down --name \1/,
  );
  expect(readdirSync(stateRoot)).toEqual([named("taken")]);
  await lab.down();
  await (await up({ id: named("taken") })).down();
});

it("a name is taken once on the machine, whatever folder a lab is kept in: its cgroup would be the other's too", async () => {
  const otherRoot = mkdtempSync(join(tmpdir(), "warren-lab-test-"));
  const lab = await up({ id: named("shared") });
  try {
    const other = { mesh: false, stateRoot: otherRoot, manifests, id: named("shared") } as const;
    await expect(Lab.up(other, AbortSignal.timeout(90_000))).rejects.toMatchObject({
      code: "MESH_LAB_EXISTS",
      message: expect.stringContaining(`warren-lab-${named("shared")}`),
    });
    // Nothing of the refused one is left to sweep, and a sweep leaves the first alone.
    expect(readdirSync(otherRoot)).toEqual([]);
    expect(await sweepLabs(otherRoot)).toEqual([]);
    await lab.waitReady();
    expect((await lab.exec("one", ["true"])).code).toBe(0);
    await lab.down();
    await (await Lab.up(other, AbortSignal.timeout(90_000))).down();
    expect(tracesOf(named("shared"), otherRoot)).toEqual([]);
  } finally {
    await lab.down();
    rmSync(otherRoot, { recursive: true });
  }
});

it.each(["../x", "A", "", "x".repeat(40)])("%j is no name for a lab", (id) => {
  expect(() => claimLab(stateRoot, id, "program")).toThrow(/is not a name for a lab/);
});

it("what an owner that was killed left is swept by the next lab, and only that", async () => {
  const owner = await otherOwner(named("orphan"));
  const living = await up({ id: named("living") });
  await living.waitReady();
  owner.kill("SIGKILL");
  await once(owner, "exit");
  expect(tracesOf(named("orphan"), stateRoot).length).toBeGreaterThan(5);
  const third = await up({ id: named("third") });
  expect(tracesOf(named("orphan"), stateRoot)).toEqual([]);
  expect((await living.exec("one", ["true"])).code).toBe(0);
  await Promise.all([third.down(), living.down()]);
});

it("a sweep leaves a living owner's lab alone, and removes drafts of dead claims", async () => {
  const owner = await otherOwner(named("alive"));
  mkdirSync(join(stateRoot, ".half.999999999.1"));
  expect(await sweepLabs(stateRoot)).toEqual([]);
  expect(readdirSync(stateRoot)).toEqual([named("alive")]);
  owner.kill("SIGKILL");
  await once(owner, "exit");
  expect(await Promise.all([sweepLabs(stateRoot), sweepLabs(stateRoot)])).toContainEqual([named("alive")]);
  expect(tracesOf(named("alive"), stateRoot)).toEqual([]);
});

it("a cgroup is removed with all below it, with processes that fork and ignore signals", async () => {
  const cgroup = new Cgroup(join(findCgroup2(), `warren-test-${process.pid}`)).create();
  const below = cgroup.child("a").child("b").create();
  const child = spawn("sh", [
    "-c",
    'echo 0 > "$0/cgroup.procs"; trap "" TERM; while :; do sleep 0.01 & wait; done',
    below.path,
  ]);
  await expect.poll(() => below.pids.length).toBeGreaterThan(0);
  expect(cgroup.populated).toBe(true);
  const gone = once(child, "exit");
  await cgroup.remove();
  await gone;
  expect(cgroup.exists).toBe(false);
  await cgroup.remove();
});
