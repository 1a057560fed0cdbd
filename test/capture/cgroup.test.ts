import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { cgroup2Mount, cgroup2Path, findPodsCgroup } from "../../src/capture/cgroup.ts";

describe("cgroup v2", () => {
  it.each([
    ["alone", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", "/sys/fs/cgroup"],
    [
      "beside v1",
      "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0",
      "/sys/fs/cgroup/unified",
    ],
    ["with an escaped path", String.raw`cgroup2 /mnt/a\040b cgroup2 rw 0 0`, "/mnt/a b"],
    ["absent", "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0", undefined],
  ])("is found %s", (_, mounts, expected) => {
    expect(cgroup2Mount(mounts)).toBe(expected);
  });

  it.each([
    ["0::/system.slice/kubelet.service\n", "/system.slice/kubelet.service"],
    ["9:cpu:/x\n0::/\n", "/"],
    ["9:cpu:/x\n", undefined],
  ])("names a process's path in %j", (text, expected) => {
    expect(cgroup2Path(text)).toBe(expected);
  });

  it.each(["kubepods.slice", "kubepods", "kubelet.slice/kubelet-kubepods.slice"])("finds pods in %s", async (name) => {
    const mount = await mkdtemp(join(tmpdir(), "warren-cgroup-"));
    onTestFinished(() => rm(mount, { recursive: true }));
    expect(await findPodsCgroup(mount)).toBeUndefined();
    await mkdir(join(mount, name), { recursive: true });
    expect(await findPodsCgroup(mount)).toBe(join(mount, name));
  });
});
