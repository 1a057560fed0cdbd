import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findKubeletCgroup } from "../../src/capture/kubelet.ts";

let proc: string;
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), "proc-"));
  mkdirSync(join(proc, "sys"));
});
afterEach(() => rmSync(proc, { recursive: true }));

function addProcess(pid: number, comm: string, cgroup: string | undefined): void {
  mkdirSync(join(proc, `${pid}`));
  writeFileSync(join(proc, `${pid}`, "comm"), `${comm}\n`);
  if (cgroup !== undefined) {
    writeFileSync(join(proc, `${pid}`, "cgroup"), `${cgroup}\n`);
  }
}

it.each(["kubelet", "k3s-server", "kubelite"])("finds the cgroup of %s", async (comm) => {
  addProcess(1, "systemd", "0::/init.scope");
  addProcess(77, comm, "0::/system.slice/node.service");
  expect(await findKubeletCgroup("/sys/fs/cgroup", proc)).toBe("/sys/fs/cgroup/system.slice/node.service");
});

it("passes over a kubelet that has ended, or whose cgroup cannot be seen from here", async () => {
  addProcess(10, "kubelet", undefined);
  addProcess(11, "kubelet", "0::/../../system.slice/kubelet.service");
  expect(await findKubeletCgroup("/sys/fs/cgroup", proc)).toBeUndefined();
  addProcess(12, "kubelet", "0::/kubelet");
  expect(await findKubeletCgroup("/sys/fs/cgroup", proc)).toBe("/sys/fs/cgroup/kubelet");
});
