import { spawn } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/lib/clock.ts";
import { Succession } from "../../src/node/succession.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const log = { info: () => {}, warn: () => {} };

/** A living process to speak for: each agent is one. */
function someProcess(): { readonly pid: number; readonly kill: () => void } {
  const child = spawn("sleep", ["600"]);
  onTestFinished(() => void child.kill("SIGKILL"));
  return { pid: child.pid ?? 0, kill: () => void child.kill("SIGKILL") };
}

function agent(folder: string, pid: number, steps: string[]): Succession {
  const succession = new Succession({ clock: systemClock, log }, { folder, pid });
  onTestFinished(() => succession.stop());
  const told = (step: string) => async () => void steps.push(`${step} ${pid}`);
  return Object.assign(succession, { roles: { stepBack: told("back"), stepForward: told("forward") } });
}

async function begin(succession: Succession): Promise<void> {
  await succession.begin((succession as Succession & { roles: Parameters<Succession["begin"]>[0] }).roles);
}

test("one agent acts at once, steps back for a newer one before that acts, and forward when it is gone", async () => {
  const folder = join(await temporaryFolder(), "agents");
  const steps: string[] = [];
  const [older, newer] = [someProcess(), someProcess()];
  const first = agent(folder, older.pid, steps);
  await begin(first);
  expect(first.acting).toBe(true);
  const second = agent(folder, newer.pid, steps);
  await begin(second);
  expect(steps).toEqual([`back ${older.pid}`]);
  expect([first.acting, second.acting]).toEqual([false, true]);
  await second.stop();
  await expect.poll(() => first.acting).toBe(true);
  expect(steps).toEqual([`back ${older.pid}`, `forward ${older.pid}`]);
  await first.stop();
  await first.stop();
  expect(await readdir(folder)).toEqual([]);
});

test("a newer agent whose process died is gone, and notes of the dead hold up nobody", async () => {
  const folder = await temporaryFolder();
  const steps: string[] = [];
  const [older, newer] = [someProcess(), someProcess()];
  const dead = { pid: newer.pid, startedAt: "1", since: Date.now() + 1e6, acting: true };
  await writeFile(join(folder, String(newer.pid)), JSON.stringify(dead));
  await writeFile(join(folder, "nonsense"), "{");
  const first = agent(folder, older.pid, steps);
  await begin(first);
  expect(first.acting).toBe(true);
  const second = agent(folder, newer.pid, steps);
  await begin(second);
  expect(first.acting).toBe(false);
  newer.kill();
  await expect.poll(() => first.acting, { timeout: 30_000 }).toBe(true);
});

test("without a folder to meet in an agent acts alone", async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "file"), "");
  const only = agent(join(folder, "file", "below"), process.pid, []);
  await begin(only);
  expect(only.acting).toBe(true);
});
